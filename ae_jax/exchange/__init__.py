"""Trained models to other programs and back."""
