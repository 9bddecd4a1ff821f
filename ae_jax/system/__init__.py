"""Operating-system services: atomic file writes, locks, signals."""
