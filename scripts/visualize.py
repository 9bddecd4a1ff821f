"""Draw what a run has learned: python scripts/visualize.py runs/conv."""

from ae_jax.cli import parse, run_command
from ae_jax.inspection.config import VisualizeConfig


def main() -> None:
    """Read the command line, then draw."""
    config, _, _ = parse({"": VisualizeConfig}, "Draw a trained model's codes, and what it decodes from them.")
    from ae_jax.inspection.visualize import visualize_run  # here: a command line is read before JAX is imported

    visualize_run(config)


if __name__ == "__main__":
    run_command(main)
