"""A folder in which runs are tortured: their images, their commands, and what they should have come to."""

import functools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ae_jax.data.glyphs import draw_glyphs
from faults.outcomes import Outcome, outcome_difference, run_outcome

ARCHS = ("conv", "linear")
_IMAGES = {"own.npy": 1200, "tiny.npy": 40}


class Trial(NamedTuple):
    """One thing that was tried, and what was wrong with the outcome, if anything."""

    what: str
    problem: str | None


class Reference(NamedTuple):
    """An undisturbed run."""

    outcome: Outcome
    compiling_seconds: float  # from the start of its process to the end, where it has to compile everything
    seconds: float  # the same where it finds everything compiled


class Workplace:
    """Real processes of `scripts/train.py` in a folder of their own."""

    def __init__(self, folder: Path, train_script: Path) -> None:
        self.folder, self._train_script = folder.absolute(), train_script.absolute()
        for name, n in _IMAGES.items():
            images, _ = draw_glyphs(jax.random.key(0), n)
            np.save(self.folder / name, np.asarray(images))
        self.environment = {  # compiled once: most of what is tortured is the same few programs
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compilations"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            **os.environ,
        }

    def start(self, *args: object, compiled: bool = True) -> subprocess.Popen[str]:
        """A run in this folder, whose output and errors are read together; `compiled`: it need not compile again."""
        command = [sys.executable, str(self._train_script), *map(str, args)]
        without = {"JAX_COMPILATION_CACHE_DIR"} if not compiled else set()
        environment = {name: value for name, value in self.environment.items() if name not in without}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=self.folder, env=environment, text=True, **pipes)  # type: ignore[call-overload]

    def run(self, *args: object) -> subprocess.CompletedProcess[str]:
        """The same to its end."""
        process = self.start(*args)
        output, _ = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def arguments(self, arch: str, run_dir: str) -> tuple[str, ...]:
        """A short run with checkpoints in the middle of its epochs."""
        settings = ("--epochs", "6", "--checkpoint-every", "7steps", "--figure-every", "3")
        return ("--dataset", "own.npy", "--arch", arch, *settings, "--run-dir", run_dir)

    def make_references(self) -> None:
        """Have an undisturbed run of each model, before trials that run at the same time ask for them."""
        for arch in ARCHS:
            self.reference(arch)

    @functools.cache  # noqa: B019, there is one workplace
    def reference(self, arch: str) -> Reference:
        """The undisturbed run of `arguments`."""
        seconds = []
        for run_dir in (f"compiled-{arch}", f"reference-{arch}"):
            start = time.perf_counter()
            result = self.run(*self.arguments(arch, run_dir))
            assert result.returncode == 0, result.stdout
            seconds.append(time.perf_counter() - start)
        return Reference(run_outcome(self.folder / run_dir), *seconds)

    def difference(self, run_dir: str, arch: str) -> str | None:
        """How the outcome of a run differs from the undisturbed one's, to the bit."""
        return outcome_difference(run_outcome(self.folder / run_dir), self.reference(arch).outcome)
