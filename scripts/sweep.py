"""Train a sweep over seeds and hyperparameters: python scripts/sweep.py --seeds 8 --learning-rate 1e-3 3e-3 1e-2."""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

from ae_jax.cli import parse_training, run_command
from ae_jax.sweep.config import SweepConfig


def main() -> None:
    """Parse the command line, then train."""
    command = parse_training({"sweep": SweepConfig}, "Train seeds × learning rates × weight decays as one program.")
    from ae_jax.sweep.train import resume, train  # here, so that --help and errors do not wait for JAX

    if command.resume:
        resume(**command.given)
    else:
        train(command.config)


if __name__ == "__main__":
    run_command(main)
