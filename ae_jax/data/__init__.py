"""Datasets as arrays, and mini-batches."""
