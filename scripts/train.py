"""Train an autoencoder: python scripts/train.py --arch conv."""

from ae_jax.cli import parse, run_command
from ae_jax.config import TrainConfig, fast


def main() -> None:
    """Read the command line, then train."""
    config = parse({"tutorial": TrainConfig, "fast": fast}, "Train an MNIST autoencoder.")
    from ae_jax.run import train  # here: a command line is read before JAX is imported

    train(config)


if __name__ == "__main__":
    run_command(main)
