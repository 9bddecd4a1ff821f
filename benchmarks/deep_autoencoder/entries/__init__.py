"""Entries of the benchmark, one per file: `make_optimizer`, and the settings that were tried."""
