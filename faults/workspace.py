"""Workspace of the fault trials: images, processes and the outcomes of undisturbed reference runs."""

import functools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ae_jax.data.glyphs import draw_glyphs
from faults.outcomes import Outcome, outcome_difference, run_outcome

ARCHS = ("conv", "linear")
_IMAGES = {"own.npy": 1200, "tiny.npy": 40}


class Trial(NamedTuple):
    """One injected fault or unusual command line, and its result."""

    description: str
    problem: str | None  # None: passed


class Reference(NamedTuple):
    """The outcome and the duration of an undisturbed run."""

    outcome: Outcome
    cold_seconds: float  # of the whole process with an empty compilation cache
    warm_seconds: float  # the same with a full compilation cache


class Workspace:
    """A directory in which the scripts run as processes."""

    def __init__(self, folder: Path, scripts: Path) -> None:
        self.folder, self._scripts = folder.absolute(), scripts.absolute()
        images, labels = map(np.asarray, draw_glyphs(jax.random.key(0), max(_IMAGES.values())))
        for name, n in _IMAGES.items():
            np.save(self.folder / name, images[:n])
            np.savez((self.folder / name).with_suffix(".npz"), images=images[:n], labels=labels[:n])
        self.environment = {  # a shared compilation cache, since most trials run the same few programs; not the user's
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compilations"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TMPDIR": str(self.folder),  # a killed process leaves the files that a GPU's compiler was working on
        }

    def start(
        self, *args: object, script: str = "train.py", cached: bool = True, folder: str = ""
    ) -> subprocess.Popen[str]:
        """Start a script in a folder, with stderr merged into stdout; `cached`: with the compilation cache."""
        command = [sys.executable, str(self._scripts / script), *map(str, args)]
        environment = self.environment | ({} if cached else {"JAX_ENABLE_COMPILATION_CACHE": "0"})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=self.folder / folder, env=environment, text=True, **pipes)  # type: ignore[call-overload]

    def run(self, *args: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a script to its end, as `start` would start it."""
        process = self.start(*args, **options)
        output, _ = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def arguments(self, arch: str, run_dir: str) -> tuple[str, ...]:
        """The arguments of a short run with checkpoints in the middle of its epochs."""
        settings = ("--epochs", "6", "--checkpoint-every", "7steps", "--figure-every", "3")
        return ("--dataset", "own.npy", "--arch", arch, *settings, "--run-dir", run_dir)

    def make_references(self) -> None:
        """Make all references before concurrent trials need them."""
        for arch in ARCHS:
            self.reference(arch)

    @functools.cache  # noqa: B019, there is only one workspace
    def reference(self, arch: str) -> Reference:
        """The reference of a model: an undisturbed run of `arguments`."""
        seconds = []
        for run_dir in (f"cold-{arch}", f"reference-{arch}"):
            start = time.perf_counter()
            result = self.run(*self.arguments(arch, run_dir))
            assert result.returncode == 0, result.stdout
            seconds.append(time.perf_counter() - start)
        return Reference(run_outcome(self.folder / run_dir), *seconds)

    def difference(self, run_dir: str, arch: str) -> str | None:
        """The difference between a run and the reference, or None if they are equal bit for bit."""
        return outcome_difference(run_outcome(self.folder / run_dir), self.reference(arch).outcome)
