"""Reports of one run: terminal, JSON, JUnit."""
