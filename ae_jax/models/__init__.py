"""The autoencoders, and PyTorch weights for them."""
