"""Inspection of a trained model: metrics, figures, and reconstructions of the user's images."""
