"""Training runs: lifecycle, training loop, run directories and checkpoints."""
