"""Measure training on this machine, in a clone: `python -m benchmarks --figure benchmark.png`."""

import argparse
import tempfile
from pathlib import Path

from ae_jax.config import Arch
from benchmarks.command_line import Parser, write_results

PARTS = ("steps", "growth", "scaling", "quality", "process", "convolutions", "exactness")


def main() -> None:
    """Read the command line, run the measurements, and print each table when it is complete."""
    parser = Parser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--part", choices=("all", *PARTS), default="all", help="measurement; all: what applies here")
    parser.add_argument("--arch", choices=("both", "conv", "linear"), default="both", help="models to train")
    parser.add_argument("--dataset", default="auto", help="as for ae-jax train; quality and exactness require mnist")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {args.rounds}")
    parser.run(_run, args)


def _run(args: argparse.Namespace) -> None:
    from benchmarks.measure import measure  # here, so that --help and errors do not wait for JAX
    from benchmarks.report import benchmark_figure, describe, format_table

    results = {}
    archs: list[Arch] = ["conv", "linear"] if args.arch == "both" else [args.arch]
    with tempfile.TemporaryDirectory() as folder:
        for title, table in measure(args.part, archs, args.dataset, args.rounds, Path(folder)):
            results[title] = table
            print(f"\n{format_table(title, table)}" if title != "machine" else describe(table), flush=True)
    write_results(args, results, benchmark_figure(results))


if __name__ == "__main__":
    main()
