"""A folder in which commands run as processes, and the undisturbed runs that others are compared with."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import ae_jax
from ae_jax.data.glyphs import draw_glyphs
from ae_jax.system import num_cores
from ae_jax.training.checkpoint import read_latest_checkpoint

_TRAIN = "train --dataset ../own.npz --epochs 15 --figure-every 5 --run-dir out"
COMMANDS = {  # each runs in a folder of its own and writes `out` there; the folders of earlier ones are beside it
    "train": f"{_TRAIN} --arch linear",
    "train conv": f"{_TRAIN} --arch conv",
    "resume": "train --run-dir out --resume --epochs 30",  # a copy of what "train" has trained
    "sweep": "sweep --dataset ../own.npz --arch linear --epochs 10 --seeds 2 --learning-rate 1e-3 1e-2 --run-dir out",
    "evaluate": "evaluate ../train/out --json out.json --figure out.png",
    "visualize": "visualize ../train/out --out out",
    "explore": "explore ../train/out --out out.html",
    "reconstruct": "reconstruct ../train/out ../own.npy --out out.png --codes out.npy",
    "to-torch": "convert to-torch ../train/out out.safetensors",
    "from-torch": "convert from-torch ../to-torch/out.safetensors out",
    "export": "export ../train/out out",
    "share": "share ../train/out out",
}
TRAINING = ("train", "train conv", "resume")  # commands whose `out` is a run that can be resumed
_NUM_IMAGES = {"own": 1200, "tiny": 40}


class Trial(NamedTuple):
    """One injected fault, and its result."""

    description: str
    problem: str | None  # None: passed


class Undisturbed(NamedTuple):
    """A command that ran to its end."""

    folder: Path
    cold_seconds: float  # of the whole process with an empty compilation cache
    warm_seconds: float  # the same with a full one


class Workspace:
    """A folder with images, in which the commands run as processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mnist_files = os.environ.get("AE_JAX_MANUAL_DIR", "")  # the folder of MNIST's official files, if any
        self.undisturbed: dict[str, Undisturbed] = {}
        jax.config.update("jax_compilation_cache_dir", str(folder / "compilations"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        images, labels = map(np.asarray, draw_glyphs(jax.random.key(0), max(_NUM_IMAGES.values())))
        for name, n in _NUM_IMAGES.items():
            np.save(folder / f"{name}.npy", images[:n])
            np.savez(folder / f"{name}.npz", images=images[:n], labels=labels[:n])
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(Path(ae_jax.__file__).parents[1]),  # the package that this process has imported
            "AE_JAX_MANUAL_DIR": "",  # no command should find MNIST, which trains for longer
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compilations"),  # most trials run the same few programs
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TFDS_DATA_DIR": str(folder / "data"),
            "TMPDIR": str(folder),  # a killed process leaves the files that a GPU's compiler was working on
        }

    def start(self, *args: str, folder: str = "", cached: bool = True) -> subprocess.Popen[str]:
        """Start a command in a folder, with stderr merged into stdout; `cached`: with the compilation cache."""
        environment = self.environment | ({} if cached else {"JAX_ENABLE_COMPILATION_CACHE": "0"})
        return subprocess.Popen(
            [sys.executable, "-m", "ae_jax", *args],
            cwd=self.folder / folder,
            env=environment,
            text=True,
            errors="backslashreplace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *args: str, folder: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as `start` would start it."""
        process = self.start(*args, folder=folder)
        output, _ = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def in_parallel(self, trial: Callable[[int], Trial], seeds: range) -> Iterator[Trial]:
        """The results of a trial for all seeds, with a trial per core at a time."""
        with ThreadPoolExecutor(num_cores()) as pool:
            yield from pool.map(trial, seeds)

    def run_undisturbed(self, commands: Iterable[str]) -> None:
        """Run each of `COMMANDS` undisturbed, unless it has been, after those whose files it reads."""
        for command in commands:
            self.run_undisturbed(["train"] if command == "resume" else re.findall(r"\.\./([\w-]+)/", COMMANDS[command]))
            if command not in self.undisturbed:
                cold, warm = (self._seconds(command, name) for name in (f"cold-{command}", command))
                self.undisturbed[command] = Undisturbed(self.folder / command, cold, warm)

    def make_folder(self, command: str, name: str) -> Path:
        """Make the folder in which a command of `COMMANDS` is to run."""
        folder = self.folder / name
        folder.mkdir()
        if command == "resume":
            shutil.copytree(self.folder / "train" / "out", folder / "out")
        return folder

    def _seconds(self, command: str, name: str) -> float:
        self.make_folder(command, name)
        start = time.perf_counter()
        result = self.run(*COMMANDS[command].split(), folder=name)
        if result.returncode:
            raise RuntimeError(f"{command} fails without any fault: {result.stdout}")
        return time.perf_counter() - start


def difference(run_dir: Path, expected: Path) -> str | None:
    """The difference between two runs, or None if their files are the same and state and losses equal bit for bit."""
    if changed := _file_names(run_dir) ^ _file_names(expected):
        return f"files that only one run has: {', '.join(map(str, sorted(changed)))}"
    if _losses(run_dir) != _losses(expected):
        return f"losses {_losses(run_dir)} instead of {_losses(expected)}"
    ends = [read_latest_checkpoint(folder) for folder in (run_dir, expected)]
    tensors, others = ({} if end is None else end.tensors for end in ends)
    differing = [name for name in tensors.keys() | others.keys() if not _equal(tensors.get(name), others.get(name))]
    return f"different arrays: {', '.join(sorted(differing))}" if differing else None


def _file_names(run_dir: Path) -> set[Path]:
    return {path.relative_to(run_dir) for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock"}


def _losses(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: x for name, x in line.items() if not name.endswith(("seconds", "second"))} for line in lines]


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a, b)
