"""Compare optimizers on the MNIST deep autoencoder, in a clone: `python -m benchmarks.deep_autoencoder`.

An entry is a file with a function `make_optimizer(num_steps) -> optax.GradientTransformation`: one of
benchmarks/deep_autoencoder/entries, or yours. See docs/optimizers.md.
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from ae_jax.errors import InputError, RunError
from ae_jax.system import FIGURE_SUFFIXES, check_output, write_output

FOLDER = Path(__file__).parent
DEFINITIONS = ("kbfgs", "sonew", "eva", "kfac", "sutskever")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def main() -> None:
    """Read the command line, run the entries, and print the table."""
    parser = _Parser(
        prog="python -m benchmarks.deep_autoencoder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = sorted(path.stem for path in (FOLDER / "entries").glob("[!_]*.py"))
    parser.add_argument("--entry", nargs="+", default=names, metavar="ENTRY", help=f"{', '.join(names)}, or a file")
    parser.add_argument("--seeds", type=int, default=5, help="training runs per entry (default: 5)")
    parser.add_argument("--steps", type=int, default=550, help="steps per run, a multiple of 11 (default: 550)")
    parser.add_argument("--quick", action="store_true", help="--seeds 1 --steps 55")
    parser.add_argument("--tune", action="store_true", help="run each of an entry's TRIALS with seed 0 instead")
    parser.add_argument(
        "--as", dest="definition", choices=DEFINITIONS, help="report this paper's own number, too, of seed 0"
    )
    parser.add_argument("--json", help="JSON file for the results")
    parser.add_argument("--figure", help="figure file, .png, .svg or .pdf")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {args.seeds}")
    if args.steps < 11 or args.steps % 11:
        parser.error(f"--steps must be a multiple of 11, not {args.steps}")
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
    entries = {Path(entry).stem: load_entry(entry) for entry in args.entry}
    if len(entries) < len(args.entry):
        raise InputError("two entries have the same name; rename one")
    from benchmarks.deep_autoencoder import measure  # here, so that --help and errors do not wait for JAX

    if args.tune:
        if untuned := [name for name, entry in entries.items() if not hasattr(entry, "TRIALS")]:
            raise InputError(f"{untuned[0]} has no list TRIALS of settings to try")
        measure.tune(entries)
        return
    seeds, steps = (1, 55) if args.quick else (args.seeds, args.steps)
    results = measure.run_all(entries, seeds, steps, args.definition)
    if args.json:
        write_output(args.json, (json.dumps(results, indent=1) + "\n").encode())
    if args.figure:
        from ae_jax.figures import figure_bytes
        from benchmarks.deep_autoencoder.report import make_figure

        write_output(args.figure, figure_bytes(make_figure(results["entries"]), Path(args.figure).suffix))


def load_entry(entry: str) -> ModuleType:
    """Import an entry by its name or its file."""
    path = Path(entry) if entry.endswith(".py") else FOLDER / "entries" / f"{entry}.py"
    if not path.is_file():
        raise InputError(f"there is no entry {entry}: {path} does not exist")
    spec: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "make_optimizer"):
        raise InputError(f"{path} has no function make_optimizer(num_steps)")
    if path.parent.resolve() != FOLDER / "entries" and (FOLDER / "entries" / path.name).exists():
        raise InputError(f"{path} is called like an entry of the benchmark; rename it")
    return module


if __name__ == "__main__":
    main()
