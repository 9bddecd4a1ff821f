"""Signals: commands that SIGKILL, SIGTERM or SIGINT ends at a random moment, and the run that follows."""

import functools
import json
import random
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ae_jax.tensorfile import read_tensors
from ae_jax.training.checkpoint import list_checkpoints
from faults.workspace import COMMANDS, TRAINING, Trial, Workspace, difference

_EXIT_SECONDS = 2.0  # allowed between SIGTERM or SIGINT and the exit, beside the compilation of a program
_EARLY_SECONDS, _EARLY_SHARE = 0.4, 0.25  # of the signals come while the command is importing
_SLOWDOWN = 1.5  # of a command beside other trials
_NORMAL_EXIT_SECONDS = 0.2  # a command that ends this long after the signal may have been ending already
_HANDLERS_SECONDS = 0.5  # more than a process needs to install its signal handlers


class _End(NamedTuple):
    """The end of a process."""

    code: int
    output: str
    seconds: float | None  # since the signal; None: it ended before


def interrupt_commands(
    workspace: Workspace, seeds: range, *, commands: Sequence[str], signums: Sequence[signal.Signals]
) -> Iterator[Trial]:
    """End commands in turn by one of the signals at a random moment, and run each again."""
    workspace.run_undisturbed({commands[seed % len(commands)] for seed in seeds})
    return workspace.in_parallel(functools.partial(_interrupt, workspace, commands, signums), seeds)


def _interrupt(workspace: Workspace, commands: Sequence[str], signums: Sequence[signal.Signals], seed: int) -> Trial:
    """End a command by a signal, then run it again to its end; a signal that comes too late is drawn again."""
    rng = random.Random(seed)
    command = commands[seed % len(commands)]
    signum, cached, early = rng.choice(signums), rng.random() < 0.5, rng.random() < _EARLY_SHARE
    _, cold_seconds, warm_seconds = workspace.undisturbed[command]
    last = _EARLY_SECONDS if early else _SLOWDOWN * (warm_seconds if cached else cold_seconds)
    end = _End(0, "", None)
    while end.code == 0 and (end.seconds or 0.0) < _NORMAL_EXIT_SECONDS:
        delay, folder = rng.uniform(0.0, last), workspace.make_folder(command, f"{command}-{secrets.token_hex(8)}")
        process = workspace.start(*COMMANDS[command].split(), folder=folder.name, cached=cached)
        end = _send_signal(process, delay, signum)
    limit = _EXIT_SECONDS + (0.0 if cached else max(0.0, cold_seconds - warm_seconds))
    problem = next(_problems(workspace, command, folder, end, signum, limit), None)
    shutil.rmtree(folder)
    programs = "cached" if cached else "compiled"
    description = f"{command}, {programs}: {signum.name} at {delay:.2f} s, exit after {end.seconds or 0.0:.2f} s"
    return Trial(description, problem and f"{problem}: {end.output}")


def _send_signal(process: subprocess.Popen[str], delay: float, signum: signal.Signals) -> _End:
    """Send a signal after a delay, if the process still runs, and wait for its end.

    SIGTERM and SIGINT are delayed from when the process has installed its handlers.
    """
    if signum != signal.SIGKILL:
        _wait_for_handlers(process)
    try:
        output, _ = process.communicate(timeout=delay)
        return _End(process.returncode, output, None)
    except subprocess.TimeoutExpired:
        process.send_signal(signum)
    start = time.perf_counter()
    output, _ = process.communicate()
    return _End(process.returncode, output, time.perf_counter() - start)


def _wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Wait until the process handles SIGTERM, the second of its handlers; without Linux's /proc, half a second.

    Of earlier signals it dies as any Python program does, of SIGINT with a traceback.
    """
    status, handled = Path(f"/proc/{process.pid}/status"), 0
    if not status.exists():
        time.sleep(_HANDLERS_SECONDS)
        return
    while process.poll() is None and not handled >> signal.SIGTERM - 1 & 1:
        (mask,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        handled = int(mask, 16)
        time.sleep(0.001)


def _problems(
    workspace: Workspace, command: str, folder: Path, end: _End, signum: signal.Signals, limit: float
) -> Iterator[str]:
    """The faults of an interrupted command: its exit, the files it left in `folder`, a later run of it."""
    expected = -signum if signum == signal.SIGKILL else 128 + signum
    if end.seconds is None or end.code != expected:
        yield f"exit {end.code} instead of {expected}"
    elif end.seconds > limit:
        yield f"exit after {end.seconds:.1f} s, more than {limit:.1f}"
    if "Traceback" in end.output:
        yield "traceback"
    whole = [workspace.undisturbed[each].folder for each in {command, "train"} & workspace.undisturbed.keys()]
    for path in folder.rglob("*"):
        if path.is_file() and not _is_whole(path, [each / path.relative_to(folder) for each in whole]):
            yield f"{path.relative_to(folder)} is half-written"
    if command in TRAINING and signum != signal.SIGKILL:
        yield from _hint_problems(folder / "out", end.output)
    yield from _later_problems(workspace, command, folder)


def _is_whole(path: Path, whole: Sequence[Path]) -> bool:
    """Whether a file is valid, hidden, or equals one of those that were written undisturbed."""
    if path.name.startswith("."):  # temporary files, and the lock
        return True
    try:
        if path.suffix == ".safetensors":
            read_tensors(path)
            return True
        if path.suffix in (".json", ".jsonl"):
            return all(
                map(json.loads, path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()])
            )
    except ValueError:
        pass
    return any(each.exists() and each.read_bytes() == path.read_bytes() for each in whole)


def _hint_problems(run_dir: Path, output: str) -> Iterator[str]:
    has_hint, has_checkpoint = "--resume" in output, bool(list_checkpoints(run_dir))
    if has_hint and not has_checkpoint:
        yield "a hint to resume without a checkpoint"
    if not has_hint and ("Training" in output or "Resuming" in output) and "Files: " not in output:
        yield "no hint to resume"


def _later_problems(workspace: Workspace, command: str, folder: Path) -> Iterator[str]:
    """Problems of running a command again where it was ended, and of what it has then written."""
    arguments = COMMANDS[command].split()
    if command in TRAINING and list_checkpoints(folder / "out") and "--resume" not in arguments:
        arguments.append("--resume")
    later = workspace.run(*arguments, folder=folder.name)
    if command not in TRAINING and later.returncode == 2 and "nothing is overwritten" in later.stdout:
        return
    if later.returncode:
        yield f"a later run exits with {later.returncode}: {later.stdout}"
    elif command in TRAINING and (found := difference(folder / "out", workspace.undisturbed[command].folder / "out")):
        yield f"a later run gives {found}"
