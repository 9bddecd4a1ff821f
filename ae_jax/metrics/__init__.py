"""Quality metrics for reconstructions and latent codes, and the PCA baseline."""
