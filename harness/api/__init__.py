"""A model behind HTTP, and a model or an API on the other end of it."""
