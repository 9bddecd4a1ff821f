"""A folder with which others can use a trained model."""
