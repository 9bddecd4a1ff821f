"""Files, locks and signals."""
