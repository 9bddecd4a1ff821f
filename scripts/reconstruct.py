"""Encode and decode your own images: python scripts/reconstruct.py runs/conv digits.npy --out digits.png."""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

from ae_jax.cli import parse, run_command
from ae_jax.inspection.config import ReconstructConfig


def main() -> None:
    """Parse the command line, then reconstruct."""
    config = parse(ReconstructConfig, "Encode and decode your own images with a trained model.")
    from ae_jax.inspection.reconstruct import reconstruct_images  # here, so that --help and errors do not wait for JAX

    reconstruct_images(config)


if __name__ == "__main__":
    run_command(main)
