"""What the host does while a run lasts: its resources, what keeps the loop, and what its memory and logs say."""
