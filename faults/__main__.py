"""Inject faults and print a table of the results: python -m faults --part kill --trials 10."""

import argparse
import functools
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from faults.command_lines import try_command_lines
from faults.concurrency import run_concurrently
from faults.corruption import corrupt_files
from faults.disk import fail_operations
from faults.signals import interrupt_commands
from faults.workspace import COMMANDS, Trial, Workspace

_RUNS = ("train", "train conv")


class _Part(NamedTuple):
    """A kind of fault, a row of the table."""

    title: str  # fault: expected result
    num_trials: int
    trials: Callable[[Workspace, range], Iterator[Trial]]  # with a random seed for each


def main() -> None:
    """Run the parts and print the table; exit with 1 if a trial failed."""
    options = _parser().parse_args()
    rows, failed = ["| fault: expected result | passed | trials |", "|---|---|---|"], 0
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder).resolve())
        for name in [options.part] if options.part else _PARTS:
            part, start = _PARTS[name], time.perf_counter()
            seeds = range(options.seed, options.seed + (options.trials or part.num_trials))
            problems = [_log(trial) for trial in part.trials(workspace, seeds)]
            passed = problems.count(None)
            failed += len(problems) - passed
            rows.append(f"| {part.title} | {passed} | {len(problems)} |")
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print("\n".join(rows))
    sys.exit(failed > 0)


def _parser() -> argparse.ArgumentParser:
    epilog = "The real MNIST is tried, too, if AE_JAX_MANUAL_DIR is the directory of its official files."
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__, epilog=epilog)
    defaults = ", ".join(f"{name} {part.num_trials}" for name, part in _PARTS.items())
    parser.add_argument("--part", choices=_PARTS, help="kind of fault (default: all)")
    parser.add_argument("--trials", type=_positive, metavar="N", help=f"trials per part (default: {defaults})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _log(trial: Trial) -> str | None:
    print(
        f"FAILED: {trial.description}: {trial.problem}" if trial.problem else f"passed: {trial.description}",
        file=sys.stderr,
    )
    return trial.problem


_TERMINATE = (signal.SIGTERM, signal.SIGINT)
_PARTS = {
    "kill": _Part(
        "SIGKILL at a random moment of `train`: resumes bit for bit",
        100,
        functools.partial(interrupt_commands, commands=_RUNS, signums=(signal.SIGKILL,)),
    ),
    "signal": _Part(
        "SIGTERM or SIGINT at a random moment of `train`: exit 143 or 130 within 2 s, or as soon as a program has "
        "compiled; resumes bit for bit",
        20,
        functools.partial(interrupt_commands, commands=_RUNS, signums=_TERMINATE),
    ),
    "interrupt": _Part(
        "SIGTERM or SIGINT at a random moment of every command: the same exit, no traceback, nothing half-written, a "
        "later run works",
        200,
        functools.partial(interrupt_commands, commands=tuple(COMMANDS), signums=_TERMINATE),
    ),
    "disk": _Part(
        "k-th open, write, fsync or rename fails: one-line error, the newest checkpoint loads, resumes bit for bit",
        1000,  # more than there are: every k
        fail_operations,
    ),
    "corruption": _Part(
        "bit flip or truncation of a checkpoint, weights file or dataset: refused in one line, or skipped or "
        "regenerated with a warning",
        1200,
        corrupt_files,
    ),
    "commands": _Part("random command lines: exit 0 or 2, no traceback", 1000, try_command_lines),
    "concurrency": _Part(
        "a second run in a directory: refused, the first unaffected; three processes prepare one dataset: equal",
        5,
        run_concurrently,
    ),
}

if __name__ == "__main__":
    main()
