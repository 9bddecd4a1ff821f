"""Compare optimizers on the MNIST deep autoencoder, in a clone: `python -m benchmarks.deep_autoencoder`.

An entry is a file with a function `make_optimizer(num_steps) -> optax.GradientTransformation`: one of
benchmarks/deep_autoencoder/entries, or yours. See docs/optimizers.md.
"""

import argparse
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from ae_jax.errors import InputError
from benchmarks.command_line import Parser, write_results

FOLDER = Path(__file__).parent
DEFINITIONS = ("kbfgs", "sonew", "eva", "kfac", "sutskever")


def main() -> None:
    """Read the command line, run the entries, and print the table."""
    parser = Parser(
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
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {args.seeds}")
    if args.steps < 11 or args.steps % 11:
        parser.error(f"--steps must be a multiple of 11, not {args.steps}")
    parser.run(_run, args)


def _run(args: argparse.Namespace) -> None:
    entries = {Path(entry).stem: load_entry(entry) for entry in args.entry}
    if len(entries) < len(args.entry):
        raise InputError("two entries have the same name; rename one")
    from benchmarks.deep_autoencoder import measure  # here, so that --help and errors do not wait for JAX
    from benchmarks.deep_autoencoder.report import make_figure

    if args.tune:
        if untuned := [name for name, entry in entries.items() if not hasattr(entry, "TRIALS")]:
            raise InputError(f"{untuned[0]} has no list TRIALS of settings to try")
        measure.tune(entries)
        return
    seeds, steps = (1, 55) if args.quick else (args.seeds, args.steps)
    results = measure.run_all(entries, seeds, steps, args.definition)
    write_results(args, results, make_figure(results["entries"]))


def load_entry(entry: str) -> ModuleType:
    """Import an entry by its name or its file."""
    path = Path(entry) if entry.endswith(".py") else FOLDER / "entries" / f"{entry}.py"
    if not path.is_file():
        raise InputError(f"there is no entry {entry}: {path} does not exist")
    own = FOLDER / "entries" / path.name
    if own.exists() and not own.samefile(path):
        raise InputError(f"{path} is called like an entry of the benchmark; rename it")
    spec: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "make_optimizer"):
        raise InputError(f"{path} has no function make_optimizer(num_steps)")
    return module


if __name__ == "__main__":
    main()
