"""What a trained model makes of images: how good its codes are, and what they look like."""
