"""Autoencoder models and their conversion to and from PyTorch weights."""
