"""Torture training runs and see what they come to: python scripts/faults.py."""

import sys
from pathlib import Path

from ae_jax.cli import parse, run_command

sys.path.insert(0, str(Path(__file__).parents[1]))  # beside this folder, in a clone; nothing installs it
from faults.config import TortureConfig


def main() -> None:
    """Read the command line, then torture."""
    config, _, _ = parse({"": TortureConfig}, "Kill, starve and damage training runs, and see what they come to.")
    from faults.report import report  # here: a command line is read before JAX is imported

    report(config, Path(__file__).with_name("train.py"))


if __name__ == "__main__":
    run_command(main)
