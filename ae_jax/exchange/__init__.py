"""Files for others: PyTorch weights, ONNX graphs, and a folder with which they can use a model."""
