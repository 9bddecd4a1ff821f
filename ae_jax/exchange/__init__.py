"""Files for others: PyTorch weights, StableHLO and ONNX programs, and a folder with which they can use a model."""
