"""Inject faults into training runs and check the outcome: python scripts/faults.py."""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

import sys
from pathlib import Path

from ae_jax.cli import parse, run_command

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the package faults, which is not installed
from faults.config import FaultsConfig


def main() -> None:
    """Parse the command line, then report."""
    config = parse(FaultsConfig, "Inject faults (signals, disk errors, corrupt files) and check that runs recover.")
    from faults.report import report  # here, so that --help and errors do not wait for JAX

    report(config, Path(__file__).parent)


if __name__ == "__main__":
    run_command(main)
