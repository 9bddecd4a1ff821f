"""Convolution and max pooling operators with PyTorch semantics."""
