"""Compare the training speed with plain flax and PyTorch: python scripts/benchmark.py --figure benchmark.png."""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

import sys
from pathlib import Path

from ae_jax.cli import parse, run_command

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the package benchmarks, which is not installed
from benchmarks.config import BenchmarkConfig


def main() -> None:
    """Parse the command line, then report."""
    config = parse(BenchmarkConfig, "Compare the training speed with plain flax and PyTorch.")
    from benchmarks.report import report  # here, so that --help and errors do not wait for JAX

    report(config)


if __name__ == "__main__":
    run_command(main)
