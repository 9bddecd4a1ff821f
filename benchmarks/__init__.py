"""How fast training is, beside plain flax, PyTorch and what the machine could do at best."""
