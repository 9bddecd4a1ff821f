"""Draw the latent space of a run: python scripts/visualize.py runs/conv."""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

from ae_jax.cli import parse, run_command
from ae_jax.inspection.config import VisualizeConfig


def main() -> None:
    """Parse the command line, then draw."""
    config = parse(VisualizeConfig, "Draw the latent space of a model: codes, interpolations, traversals and grid.")
    from ae_jax.inspection.visualize import visualize_run  # here, so that --help and errors do not wait for JAX

    visualize_run(config)


if __name__ == "__main__":
    run_command(main)
