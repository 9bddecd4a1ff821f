"""Compare training times with plain flax and PyTorch: python scripts/benchmark.py --figure benchmark.png."""

from ae_jax.benchmark.config import BenchmarkConfig
from ae_jax.cli import parse, run_command


def main() -> None:
    """Read the command line, then measure."""
    config, _, _ = parse({"": BenchmarkConfig}, "Compare training times with plain flax and PyTorch.")
    from ae_jax.benchmark.report import report  # here: a command line is read before JAX is imported

    report(config)


if __name__ == "__main__":
    run_command(main)
