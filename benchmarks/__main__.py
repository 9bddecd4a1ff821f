"""Measure training on this machine, in a clone: `python -m benchmarks --figure benchmark.png`."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from ae_jax.config import Arch
from ae_jax.errors import InputError, RunError
from ae_jax.system import FIGURE_SUFFIXES, check_output, write_output

PARTS = ("steps", "growth", "scaling", "quality", "process", "convolutions", "exactness")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def main() -> None:
    """Read the command line, run the measurements, and print each table when it is complete."""
    parser = _Parser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--part", choices=("all", *PARTS), default="all", help="measurement; all: what applies here")
    parser.add_argument("--arch", choices=("both", "conv", "linear"), default="both", help="models to train")
    parser.add_argument("--dataset", default="auto", help="as for ae-jax train; quality and exactness require mnist")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds")
    parser.add_argument("--json", help="JSON file for the results")
    parser.add_argument("--figure", help="figure file, .png, .svg or .pdf")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {args.rounds}")
    try:
        _run(args)
    except InputError as error:
        parser.error(str(error))
    except RunError as error:
        parser.exit(1, f"error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)


def _run(args: argparse.Namespace) -> None:
    if args.json:
        check_output(args.json, "json")
    if args.figure:
        check_output(args.figure, "figure", FIGURE_SUFFIXES)
    from benchmarks.measure import measure  # here, so that --help and errors do not wait for JAX
    from benchmarks.report import benchmark_figure, describe, format_table

    results = {}
    archs: list[Arch] = ["conv", "linear"] if args.arch == "both" else [args.arch]
    with tempfile.TemporaryDirectory() as folder:
        for title, table in measure(args.part, archs, args.dataset, args.rounds, Path(folder)):
            results[title] = table
            print(f"\n{format_table(title, table)}" if title != "machine" else describe(table), flush=True)
    if args.json:
        write_output(args.json, (json.dumps(results, indent=2) + "\n").encode())
    if args.figure:
        from ae_jax.figures import figure_bytes

        write_output(args.figure, figure_bytes(benchmark_figure(results), Path(args.figure).suffix))


if __name__ == "__main__":
    main()
