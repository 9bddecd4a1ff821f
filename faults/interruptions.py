"""Interruption trials: every command, ended by SIGTERM or SIGINT at a random moment."""

import json
import random
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ae_jax.errors import InputError
from ae_jax.runs.checkpoint_files import latest_checkpoint
from ae_jax.runs.run_dir import check_run_dir_is_free, holds_run
from ae_jax.system.lock import LOCK_FILE
from ae_jax.system.signals import HANDLED_SIGNALS
from ae_jax.system.tensorfile import read_tensors
from faults.signals import EXIT_SECONDS, Exit, send_signal
from faults.workspace import Trial, Workspace

_TRAIN = "--dataset ../own.npz --arch linear --checkpoint-every 7steps --run-dir out"
COMMANDS = {  # each in a folder of its own, where it writes `out`; beside it, by name, the undisturbed ones before it
    "train": f"train.py {_TRAIN} --epochs 15 --figure-every 5",
    "resume": "train.py --run-dir out --resume --epochs 30",  # what "train" has trained
    "sweep": f"sweep.py {_TRAIN} --epochs 10 --seeds 2 --learning-rate 1e-3 1e-2",
    "evaluate": "evaluate.py ../train/out --json out.json --figure out.png",
    "visualize": "visualize.py ../train/out --out out",
    "explore": "explore.py ../train/out --out out.html",
    "reconstruct": "reconstruct.py ../train/out ../own.npy --out out.png --codes out.npy",
    "export": "export.py ../train/out out",
    "onnx": "export.py ../train/out out --format onnx",
    "share": "share.py ../train/out out",
    "to-torch": "convert.py to-torch ../train/out out.safetensors",
    "from-torch": "convert.py from-torch ../to-torch/out.safetensors out",
}
_TRAINING = ("train", "resume", "sweep")
_EARLY_SECONDS, _EARLY_SHARE = 0.4, 0.25  # while the command is importing
_SLOWDOWN = 2.0  # of a command beside other trials and without the compilation cache
_NORMAL_EXIT_SECONDS = 0.2  # a process that ends this long after the signal may have been ending already


class _Undisturbed(NamedTuple):
    folder: Path
    seconds: float  # with a full compilation cache


class Interruptions:
    """Trials of commands, which first run undisturbed, for their duration and their files."""

    def __init__(self, workspace: Workspace, commands: Iterable[str]) -> None:
        self._workspace = workspace
        self._undisturbed: dict[str, _Undisturbed] = {}
        for command in commands:
            self._undisturbed[command] = self._run(command)

    def trial(self, seed: int) -> Trial:
        """Interrupt a command; a signal that comes when it has ended, or is ending, is drawn again."""
        rng, commands = random.Random(seed), tuple(self._undisturbed)
        command = commands[seed % len(commands)]
        signum, cached = rng.choice(HANDLED_SIGNALS), rng.random() < 0.5
        last = _EARLY_SECONDS if rng.random() < _EARLY_SHARE else _SLOWDOWN * self._undisturbed[command].seconds
        script, *arguments = COMMANDS[command].split()
        attempt, end = 0, Exit(0, "", None)
        while end.code == 0 and (end.seconds or 0.0) < _NORMAL_EXIT_SECONDS:
            attempt, delay = attempt + 1, rng.uniform(0.0, last)
            folder = self._make_folder(command, f"{command}-{seed}-{attempt}")
            process = self._workspace.start(*arguments, script=script, cached=cached, folder=folder.name)
            end = send_signal(process, delay, signum)
        problem = next(self._problems(command, folder, end, 128 + signum), None)
        shutil.rmtree(folder)
        event = f"{signum.name} at {delay:.2f} s in attempt {attempt}, exit after {end.seconds or 0.0:.2f} s"
        programs = "cached" if cached else "compiled"
        return Trial(f"{command}, {programs} programs: {event}", problem and f"{problem}: {end.output}")

    def _run(self, command: str) -> _Undisturbed:
        """Run a command twice, the second time with a full compilation cache."""
        script, *arguments = COMMANDS[command].split()
        for name in (f"{command}-cold", command):
            folder = self._make_folder(command, name)
            start = time.perf_counter()
            result = self._workspace.run(*arguments, script=script, folder=name)
            assert result.returncode == 0, result.stdout
        return _Undisturbed(folder, time.perf_counter() - start)

    def _make_folder(self, command: str, name: str) -> Path:
        folder = self._workspace.folder / name
        folder.mkdir()
        if command == "resume":
            shutil.copytree(self._undisturbed["train"].folder / "out", folder / "out")
        return folder

    def _problems(self, command: str, folder: Path, end: Exit, code: int) -> Iterator[str]:
        if end.seconds is None or end.code != code:
            yield f"exit {end.code} instead of {code}"
        elif end.seconds > EXIT_SECONDS:
            yield f"exit after {end.seconds:.1f} s"
        if "Traceback" in end.output:
            yield "traceback"
        whole = [self._undisturbed[each].folder for each in (command, "train")]  # "resume" begins with those of "train"
        for path in folder.rglob("*"):
            if path.is_file() and not _is_whole(path, [each / path.relative_to(folder) for each in whole]):
                yield f"{path.relative_to(folder)} is half-written"
        if command in _TRAINING:
            yield from _run_problems(folder / "out", end.output)


def _is_whole(path: Path, whole: Iterable[Path]) -> bool:
    """Whether a file is valid, or equals one of those that were written undisturbed."""
    content = path.read_bytes()
    if path.name == LOCK_FILE or any(each.exists() and each.read_bytes() == content for each in whole):
        return True
    try:
        if path.suffix == ".safetensors":
            read_tensors(path)
        elif path.suffix == ".jsonl":
            return content.endswith(b"\n") and all(map(json.loads, content.splitlines()))
        return path.suffix == ".safetensors"
    except ValueError:
        return False


def _run_problems(run_dir: Path, output: str) -> Iterator[str]:
    """Problems that prevent resuming the run or, before its first checkpoint, starting it again; missing hints."""
    has_hint = "--resume" in output
    try:
        if not holds_run(run_dir):
            check_run_dir_is_free(run_dir)
        elif latest_checkpoint(run_dir) is None:
            yield "no checkpoint"
    except InputError as error:
        yield str(error)
    if has_hint and not holds_run(run_dir):
        yield "a hint to resume without a checkpoint"
    if not has_hint and ("Training" in output or "Resuming" in output) and "Everything is in" not in output:
        yield "no hint to resume"
