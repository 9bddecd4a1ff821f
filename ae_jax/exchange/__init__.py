"""Export and PyTorch interoperability."""
