"""Sweeps: many runs, one per seed, learning rate and weight decay, trained as one program."""
