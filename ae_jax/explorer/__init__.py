"""A page in which a trained model is drawn on, walked through and decoded, in plain JavaScript."""
