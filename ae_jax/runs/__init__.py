"""Training runs: their folders, their loop, and what they leave."""
