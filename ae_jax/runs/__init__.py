"""Training runs: settings to results, run directories, trained models."""
