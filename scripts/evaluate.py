"""Evaluate the reconstructions and latent codes of a run: python scripts/evaluate.py runs/conv."""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

from ae_jax.cli import parse, run_command
from ae_jax.inspection.config import EvaluateConfig


def main() -> None:
    """Parse the command line, then evaluate."""
    config = parse(EvaluateConfig, "Evaluate the reconstructions and latent codes of a model on all test images.")
    from ae_jax.inspection.evaluate import evaluate_run  # here, so that --help and errors do not wait for JAX

    evaluate_run(config)


if __name__ == "__main__":
    run_command(main)
