"""Datasets as arrays, and their batches."""
