"""Training as pure functions, and its state in a file."""
