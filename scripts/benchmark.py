"""Compare training times with plain flax and PyTorch: python scripts/benchmark.py --figure benchmark.png."""

import sys
from pathlib import Path

from ae_jax.cli import parse, run_command

sys.path.insert(0, str(Path(__file__).parents[1]))  # beside this folder, in a clone; nothing installs it
from benchmarks.config import BenchmarkConfig


def main() -> None:
    """Read the command line, then measure."""
    config, _, _ = parse({"": BenchmarkConfig}, "Compare training times with plain flax and PyTorch.")
    from benchmarks.report import report  # here: a command line is read before JAX is imported

    report(config)


if __name__ == "__main__":
    run_command(main)
