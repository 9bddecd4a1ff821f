"""Interactive page of a trained model, in plain JavaScript: draw a digit, explore the latent space."""
