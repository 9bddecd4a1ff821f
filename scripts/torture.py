"""Torture training runs and see what they come to: python scripts/torture.py."""

from ae_jax.cli import parse, run_command
from ae_jax.torture.config import TortureConfig


def main() -> None:
    """Read the command line, then torture."""
    config, _, _ = parse({"": TortureConfig}, "Kill, starve and damage training runs, and see what they come to.")
    from ae_jax.torture.report import report  # here: a command line is read before JAX is imported

    report(config)


if __name__ == "__main__":
    run_command(main)
