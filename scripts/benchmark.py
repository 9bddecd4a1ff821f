"""Compare training times with plain flax and PyTorch: python scripts/benchmark.py --figure benchmark.png."""

from ae_jax.benchmark.measure import BenchmarkConfig
from ae_jax.benchmark.report import report
from ae_jax.cli import parse, run_command

if __name__ == "__main__":
    run_command(lambda: report(parse({"": BenchmarkConfig}, "Compare training times with plain flax and PyTorch.")))
