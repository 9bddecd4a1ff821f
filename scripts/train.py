"""Train an autoencoder: python scripts/train.py --arch conv."""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

from ae_jax.cli import parse_training, run_command
from ae_jax.config import TrainConfig, fast


def main() -> None:
    """Parse the command line, then train."""
    command = parse_training({"tutorial": TrainConfig, "fast": fast}, "Train an MNIST autoencoder.")
    from ae_jax.runs.train import resume, train  # here, so that --help and errors do not wait for JAX

    if command.resume:
        resume(**command.given)
    else:
        train(command.config)


if __name__ == "__main__":
    run_command(main)
