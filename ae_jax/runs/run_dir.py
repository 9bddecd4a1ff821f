"""Run directories: creation, exclusive locking, checkpoints and the other files. Nothing is overwritten.

config.json      settings, dataset, versions, devices
metrics.jsonl    one `EpochMetrics` per line
checkpoints/     step_00000938.safetensors
figures/         reconstructions_epoch_0004.png, loss.png
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from filelock import FileLock, Timeout
from jax.sharding import Mesh

from ae_jax.config import TrainConfig
from ae_jax.data.datasets import dataset_title
from ae_jax.errors import DivergedError, InputError, RunError, reason
from ae_jax.parallel.mesh import is_process_0
from ae_jax.runs.metadata import Metadata, new_metadata, resumed_metadata
from ae_jax.runs.setup import Splits
from ae_jax.system import hint_on_exit, remove_temporaries, write_atomic
from ae_jax.training.checkpoint import Checkpoint, checkpoint_step, list_checkpoints, write_checkpoint
from ae_jax.training.state import TrainState

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """One line of `metrics.jsonl`."""

    epoch: int  # from 1
    step: int  # optimizer steps since the start
    train_loss: float  # mean over the epoch's images, each at the step that trained on it
    test_loss: float  # mean squared error over all test images, after the epoch
    seconds: float  # training alone: neither evaluation nor compilation
    images_per_second: float
    validation_loss: float | None = None  # mean squared error over all validation images, if there are any
    test_cross_entropy: float | None = None  # beside the two errors, where it is what the run minimises
    validation_cross_entropy: float | None = None


History: TypeAlias = tuple[EpochMetrics, ...]  # of the finished epochs


@dataclasses.dataclass(frozen=True)
class Run:
    """A run: its directory, settings and metadata. In a distributed run, process 0 alone writes."""

    path: Path
    config: TrainConfig
    metadata: Metadata

    @property
    def title(self) -> str:
        """The model and its dataset."""
        return f"{self.config.arch} on {dataset_title(self.metadata['dataset_used'])}"

    def save(self, state: TrainState, history: History) -> None:
        """Write a checkpoint, and delete all but the newest `keep` and the best by validation.

        If the parameters are not finite, nothing is written: `DivergedError`.
        """
        if not is_process_0():
            return
        state = jax.device_get(state)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
            raise DivergedError(f"the parameters are not finite after step {state.step}")
        path = self.path / "checkpoints" / f"step_{int(state.step):08d}.safetensors"
        save_run_state(path, state, history, self.metadata)
        self._remove_old_checkpoints(history)

    def begin(self, state: TrainState, history: History) -> None:
        """Write the checkpoint and `config.json` with which the run starts or resumes; errors as for `save`."""
        self.save(state, history)
        self.write_metadata()

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file."""
        if is_process_0():
            if (folder := (self.path / name).parent) != self.path:  # which may have been moved away
                folder.mkdir(exist_ok=True)
            write_atomic(self.path / name, content)

    def write_metadata(self) -> None:
        """Write `config.json`: the settings, then the other metadata."""
        others = {name: value for name, value in self.metadata.items() if name != "config"}
        self.write("config.json", (json.dumps({**self.metadata["config"], **others}, indent=2) + "\n").encode())

    def write_metrics(self, history: History) -> None:
        """Write `metrics.jsonl`."""
        lines = [{name: x for name, x in vars(each).items() if x is not None} for each in history]
        self.write("metrics.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines).encode())

    def _remove_old_checkpoints(self, history: History) -> None:
        paths = list_checkpoints(self.path)
        losses = {each.step: each.validation_loss for each in history if each.validation_loss is not None}
        measured = [path for path in paths if checkpoint_step(path) in losses]
        best = min(measured, key=lambda path: losses[checkpoint_step(path)], default=None)
        for path in paths[:-1]:
            if (path not in paths[-self.config.keep :] and path != best) or checkpoint_step(path) == 0:
                path.unlink()


def save_run_state(path: Path, state: TrainState, history: History, metadata: Metadata) -> None:
    """Write a checkpoint: state, number of epochs, history and metadata."""
    info = {"run": metadata, "epoch": len(history), "history": [dataclasses.asdict(each) for each in history]}
    write_checkpoint(path, state, info)


@contextlib.contextmanager
def open_run(config: TrainConfig, data: Splits, mesh: Mesh, start: Checkpoint | None = None) -> Iterator[Run]:
    """Create the directory of a new run, or take that of the checkpoint `start`, and lock it for the block.

    Raises:
      InputError: the directory is in use, not empty or not writable, or the images are not those of the checkpoint.
      RunError: within the block, a loss is not finite or a file cannot be written; the message says how to go on.
    """
    metadata = resumed_metadata(config, data, mesh, start) if start else new_metadata(config, data, mesh)
    is_new = is_process_0() and not start
    path = new_dir(config.run_dir, config.arch) if is_new else Path(config.run_dir or "")
    run = Run(path, config, metadata)
    hint = functools.partial(_resume_hint, run)
    with _locked(run.path) if is_process_0() else contextlib.nullcontext(), hint_on_exit(hint):
        if is_new:
            _check_free(run.path)  # again under the lock, in case two runs start at the same time
        try:
            yield run
        except DivergedError as error:
            advice = f"start a new run with a smaller `learning_rate`. Its last valid checkpoint is in {run.path}."
            raise RunError(f"{error}; {advice}") from error
        except OSError as error:
            advice = hint() or "Choose another `run_dir`."
            raise RunError(f"{error.filename or 'a file'} cannot be written ({reason(error)}). {advice}") from error


def new_dir(path: str | None, name: str) -> Path:
    """Create the directory `path`, or the first free one of `runs/<name>`, `runs/<name>-2`, …; else `InputError`."""
    try:
        folder = Path(path) if path else _make_unique_dir(Path("runs", name))
        _check_free(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except OSError as error:
        raise InputError(f"the run directory cannot be made: {error}; choose another `run_dir`.") from error


def default_run_dir(name: str) -> Path:
    """The only run directory `runs/<name>`, `runs/<name>-2`, …; raises `InputError` for none or several."""
    numbered = re.compile(rf"{re.escape(name)}(-\d+)?")
    runs = sorted(path for path in Path("runs").glob(f"{name}*") if numbered.fullmatch(path.name) and _holds_run(path))
    if not runs:
        raise InputError(f"runs/{name} holds no run to resume; give its directory as `run_dir`.")
    if len(runs) > 1:
        raise InputError(f"there are several runs: {', '.join(map(str, runs))}; choose one with `run_dir`.")
    return runs[0]


def _make_unique_dir(first: Path) -> Path:
    first.parent.mkdir(exist_ok=True)
    for number in itertools.count(1):
        path = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            break
    return path


def _check_free(folder: Path) -> None:
    """Raise `InputError` if a directory has files, other than the hidden ones of a run that was killed at its start."""
    if _holds_run(folder):
        advice = "`resume` it, or choose another `run_dir`" if list_checkpoints(folder) else "choose another `run_dir`"
        raise InputError(f"{folder} already holds a run, and nothing is overwritten; {advice}.")
    if any(not path.name.startswith(".") for path in folder.rglob("*") if not path.is_dir()):
        raise InputError(f"{folder} is not empty, and nothing is overwritten; choose another `run_dir`.")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a run directory; the system releases the lock if the process dies."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = f"{folder} is in use by another process; wait until it ends, or choose another `run_dir`."
        raise InputError(message) from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({reason(error)}); choose another `run_dir`.") from error
    except NotImplementedError:
        _log.warning("%s cannot be locked: make sure that no other process uses it.", folder)
    try:
        remove_temporaries(folder)
        yield
    finally:
        lock.release()


def _holds_run(path: Path) -> bool:
    return (path / "config.json").exists() or bool(list_checkpoints(path / "checkpoints"))


def _resume_hint(run: Run) -> str:
    """The command that resumes a run; empty before its first checkpoint."""
    if not list_checkpoints(run.path):
        return ""
    folders = {"--run-dir": run.path, "--data-dir": run.config.data_dir, "--manual-dir": run.config.manual_dir}
    flags = " ".join(f"{flag} {shlex.quote(str(folder))}" for flag, folder in folders.items() if folder)
    return f"Resume with: ae-jax train {flags} --resume"
