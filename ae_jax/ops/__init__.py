"""Convolutions and pooling as pure functions of arrays."""
