"""Training speed and exactness compared with plain flax, PyTorch and the roofline of the machine."""
