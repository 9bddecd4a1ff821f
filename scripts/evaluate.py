"""Measure how good a run's codes are: python scripts/evaluate.py runs/conv."""

from ae_jax.cli import parse, run_command
from ae_jax.inspection.config import EvaluateConfig


def main() -> None:
    """Read the command line, then evaluate."""
    config, _, _ = parse({"": EvaluateConfig}, "Measure how good a trained model is, on all test images.")
    from ae_jax.inspection.evaluate import evaluate_run  # here: a command line is read before JAX is imported

    evaluate_run(config)


if __name__ == "__main__":
    run_command(main)
