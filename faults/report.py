"""All fault trials and their summary table."""

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ae_jax.errors import RunError
from ae_jax.system.temporary import temporary_dir
from faults.checkpoint_trials import try_hostile_checkpoints
from faults.concurrency import contend_for_run_dir, prepare_concurrently
from faults.config import FaultsConfig
from faults.corruption import corrupt_files, make_probes
from faults.disk import fail_every_operation
from faults.interruptions import COMMANDS, Interruptions
from faults.own_file_trials import corrupt_own_files
from faults.random_cli import try_random_command
from faults.signals import interrupt_and_resume
from faults.workspace import Trial, Workspace


def report(config: FaultsConfig, scripts: Path) -> None:
    """Run the trials of `config` on the folder `scripts`, and print the summary table.

    Raises:
      RunError: a trial failed.
    """
    problems = []
    with temporary_dir() as folder:
        workspace = Workspace(folder, scripts)
        rows = ["| fault: expected result | passed | trials | s |", "|---|---|---|---|"]
        for part, (title, make_trials) in _PARTS.items():
            if config.part not in ("all", part):
                continue
            start = time.perf_counter()
            trials = list(tqdm(make_trials(config, workspace), part, disable=None, leave=False, unit=" trials"))
            failed = [trial for trial in trials if trial.problem]
            problems += [f"{part}: {trial.description}: {trial.problem}" for trial in failed]
            passed = len(trials) - len(failed)
            rows.append(f"| {title} | {passed} | {len(trials)} | {time.perf_counter() - start:.0f} |")
            print(f"{part}: {passed} of {len(trials)} trials passed", file=sys.stderr)
    print("\n".join(rows))
    if problems:
        raise RunError("\n".join((f"{len(problems)} trials failed:", *problems)))


def _signals(config: FaultsConfig, workspace: Workspace, count: int, *signums: signal.Signals) -> Iterator[Trial]:
    workspace.make_references()
    return _in_parallel(functools.partial(interrupt_and_resume, workspace, signums=signums), count, config)


def _interrupt(config: FaultsConfig, workspace: Workspace) -> Iterator[Trial]:
    return _in_parallel(Interruptions(workspace, COMMANDS).trial, config.interrupts, config)


def _disk(config: FaultsConfig, workspace: Workspace) -> Iterator[Trial]:
    return fail_every_operation(workspace.folder, workspace.folder / "own.npy")


def _corruption(config: FaultsConfig, workspace: Workspace) -> Iterator[Trial]:
    workspace.make_references()
    probes = make_probes(workspace.folder, workspace.folder / "reference-linear", _mnist(config))
    return corrupt_files(probes, config.flips, config.truncations, config.seed)


def _checkpoints(config: FaultsConfig, workspace: Workspace) -> Iterator[Trial]:
    folder, images = workspace.folder / "hostile", workspace.folder / "tiny.npy"
    return try_hostile_checkpoints(folder, images, config.checkpoints, config.seed, config.jobs)


def _commands(config: FaultsConfig, workspace: Workspace) -> Iterator[Trial]:
    return _in_parallel(functools.partial(try_random_command, workspace), config.commands, config)


def _concurrency(config: FaultsConfig, workspace: Workspace) -> Iterator[Trial]:
    workspace.make_references()
    yield from _in_parallel(functools.partial(contend_for_run_dir, workspace), config.together, config)
    if manual_dir := _mnist(config):
        yield prepare_concurrently(workspace, manual_dir)


def _mnist(config: FaultsConfig) -> Path | None:
    manual_dir = config.manual_dir or os.environ.get("AE_JAX_MANUAL_DIR")
    return Path(manual_dir) if manual_dir else None


def _in_parallel(trial: Callable[[int], Trial], count: int, config: FaultsConfig) -> Iterator[Trial]:
    """Run a trial for `count` seeds, `config.jobs` at a time."""
    with ThreadPoolExecutor(config.jobs) as pool:
        yield from pool.map(trial, range(config.seed, config.seed + count))


# Part -> its row in the table, and its trials.
_PARTS: dict[str, tuple[str, Callable[[FaultsConfig, Workspace], Iterator[Trial]]]] = {
    "kill": (
        "SIGKILL at a random time: resumes bit for bit",
        lambda config, workspace: _signals(config, workspace, config.kills, signal.SIGKILL),
    ),
    "signal": (
        "SIGTERM and SIGINT: exit 143 and 130 within 2 s, resumes bit for bit",
        lambda config, workspace: _signals(config, workspace, config.signals, signal.SIGTERM, signal.SIGINT),
    ),
    "interrupt": (
        "SIGTERM or SIGINT at a random moment, every command: exit 143 or 130 within 2 s, no traceback, nothing "
        "half-written",
        _interrupt,
    ),
    "disk": (
        "k-th open, write, fsync or rename fails: one-line error, the previous checkpoint loads, resumes bit for bit",
        _disk,
    ),
    "damage": ("bit flip or truncation: refused, or regenerated with a warning", _corruption),
    "files": (
        "bit flip or truncation of an own file (.npy, .npz, .png, .jpg, .safetensors, .pt): refused in one line, or "
        "the same images",
        lambda config, workspace: corrupt_own_files(config.files, config.seed, config.jobs),
    ),
    "checkpoints": (
        "hostile checkpoint with a valid digest: refused in one line, or loaded; nothing written elsewhere",
        _checkpoints,
    ),
    "commands": ("random command lines: exit 0 or 2, no traceback", _commands),
    "together": (
        "a second run in a directory: refused, the first unaffected; three processes prepare one dataset: equal",
        _concurrency,
    ),
}
