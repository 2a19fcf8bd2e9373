"""What one sensor delivers while it is listened to for some seconds, and what is said of it."""
