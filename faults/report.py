"""The fault programme as a whole, and its table."""

import functools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ae_jax.errors import RunError
from faults.concurrency import prepare_at_once, share
from faults.config import FaultsConfig
from faults.corruption import damage_files, make_probes
from faults.disk import fail_every_operation
from faults.random_cli import try_command
from faults.signals import stop
from faults.workplace import Trial, Workplace


def report(config: FaultsConfig, train_script: Path) -> None:
    """Do what `config` says to runs of `scripts/train.py`, which is at `train_script`, and print a table.

    Raises:
      RunError: something did not come out as it has to.
    """
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder), train_script)
        rows = ["| | as it has to be | of | s |", "|---|---|---|---|"]
        for part, (title, trials_of) in _PARTS.items():
            if config.part not in ("all", part):
                continue
            start = time.perf_counter()
            trials = list(tqdm(trials_of(config, workplace), part, disable=None, leave=False, unit=" trials"))
            bad = [trial for trial in trials if trial.problem]
            problems += [f"{part}: {trial.what}: {trial.problem}" for trial in bad]
            rows.append(f"| {title} | {len(trials) - len(bad)} | {len(trials)} | {time.perf_counter() - start:.0f} |")
            print(f"{part}: {len(trials) - len(bad)} of {len(trials)}", file=sys.stderr)
    print("\n".join(rows))
    if problems:
        raise RunError("\n".join((f"{len(problems)} did not:", *problems)))


def _stopped(config: FaultsConfig, workplace: Workplace, count: int, *signums: signal.Signals) -> Iterator[Trial]:
    workplace.make_references()
    return _in_parallel(functools.partial(stop, workplace, signums=signums), count, config)


def _disk(config: FaultsConfig, workplace: Workplace) -> Iterator[Trial]:
    return fail_every_operation(workplace.folder, workplace.folder / "own.npy")


def _damage(config: FaultsConfig, workplace: Workplace) -> Iterator[Trial]:
    workplace.make_references()
    probes = make_probes(workplace.folder, workplace.folder / "reference-linear", _mnist(config))
    return damage_files(probes, config.flips, config.truncations, config.seed)


def _commands(config: FaultsConfig, workplace: Workplace) -> Iterator[Trial]:
    return _in_parallel(functools.partial(try_command, workplace), config.commands, config)


def _together(config: FaultsConfig, workplace: Workplace) -> Iterator[Trial]:
    workplace.make_references()
    yield from _in_parallel(functools.partial(share, workplace), config.together, config)
    if manual_dir := _mnist(config):
        yield prepare_at_once(workplace, manual_dir)


def _mnist(config: FaultsConfig) -> Path | None:
    manual_dir = config.manual_dir or os.environ.get("AE_JAX_MANUAL_DIR")
    return Path(manual_dir) if manual_dir else None


def _in_parallel(trial: Callable[[int], Trial], count: int, config: FaultsConfig) -> Iterator[Trial]:
    """Trials of `count` seeds, `config.jobs` at a time."""
    with ThreadPoolExecutor(config.jobs) as pool:
        yield from pool.map(trial, range(config.seed, config.seed + count))


# What is done, as it is said in the table, and how.
_PARTS: dict[str, tuple[str, Callable[[FaultsConfig, Workplace], Iterator[Trial]]]] = {
    "kill": (
        "SIGKILL at a random moment, continued: equal to the bit",
        lambda config, workplace: _stopped(config, workplace, config.kills, signal.SIGKILL),
    ),
    "signal": (
        "SIGTERM and SIGINT: exit 143 and 130 within 2 s, continued: equal to the bit",
        lambda config, workplace: _stopped(config, workplace, config.signals, signal.SIGTERM, signal.SIGINT),
    ),
    "disk": (
        "the k-th open, write, sync or rename fails: a sentence, the checkpoint before loads, continued: equal",
        _disk,
    ),
    "damage": ("a bit flipped or the end cut off: refused, or made anew and said", _damage),
    "commands": ("random command lines: exit 0 or 2, no traceback", _commands),
    "together": (
        "a second run in a directory: refused, the first undisturbed; a dataset prepared three times at once",
        _together,
    ),
}
