"""Command lines of the benchmarks: their output files, one-line errors and exit codes."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ae_jax.errors import InputError, RunError
from ae_jax.system import FIGURE_SUFFIXES, check_output, write_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Parser(argparse.ArgumentParser):
    """A parser with the arguments --json and --figure, whose errors are one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_argument("--json", help="JSON file for the results")
        self.add_argument("--figure", help="figure file, .png, .svg or .pdf")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")

    def run(self, measure: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
        """Call `measure(args)` if the output files can be written; exit with 1, 2 or 130 after an error."""
        try:
            if args.json:
                check_output(args.json, "json")
            if args.figure:
                check_output(args.figure, "figure", FIGURE_SUFFIXES)
            measure(args)
        except InputError as error:
            self.error(str(error))
        except RunError as error:
            self.exit(1, f"error: {error}\n")
        except KeyboardInterrupt:
            sys.exit(130)


def write_results(args: argparse.Namespace, results: Any, figure: "Figure") -> None:
    """Write the files that the arguments ask for."""
    if args.json:
        write_output(args.json, (json.dumps(results, indent=2) + "\n").encode())
    if args.figure:
        from ae_jax.figures import figure_bytes

        write_output(args.figure, figure_bytes(figure, Path(args.figure).suffix))
