"""Run directories: creation, exclusive locking, and the files written there. Nothing is overwritten.

config.json      settings, dataset, versions, devices
metrics.jsonl    one `EpochMetrics` per line
checkpoints/     step_00000938.safetensors
figures/         reconstructions_epoch_0004.png, loss.png
"""

import contextlib
import dataclasses
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ae_jax.errors import InputError, reason
from ae_jax.runs.progress import EpochMetricsOf
from ae_jax.system.atomic import append_line, remove_temporaries, sync_directory, write_atomic
from ae_jax.system.lock import LOCK_FILE, check_not_locked, lock

_SUBDIRS = ("checkpoints", "figures")


def check_run_dir_is_free(path: Path) -> None:
    """Raise `InputError` unless `path` is free for a new run: absent, or an empty directory."""
    try:
        entries = list(path.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InputError(f"{path} is not a directory; choose another --run-dir.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); choose another --run-dir.") from error
    if holds_run(path):
        check_not_locked(path)
        raise InputError(f"{path} already holds a run, and nothing is overwritten; use --resume or another --run-dir.")
    if not all(_is_leftover(entry) for entry in entries):
        raise InputError(f"{path} is not empty, and nothing is overwritten; choose another --run-dir.")


@contextlib.contextmanager
def new_run_dir(path: str | None, name: str) -> Iterator[Path]:
    """Create and lock the run directory `path`, or the first free one of `runs/<name>`, `runs/<name>-2`, ….

    Raises:
      InputError: the directory is in use, not empty or not writable.
    """
    try:
        run_dir = Path(path) if path else make_unique_dir(Path("runs"), name)
        check_run_dir_is_free(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        sync_directory(run_dir.parent)
    except OSError as error:
        raise InputError(f"the run directory cannot be written ({error}); choose another --run-dir.") from error
    with lock(run_dir):
        check_run_dir_is_free(run_dir)  # again under the lock, in case two runs start at the same time
        for subdir in _SUBDIRS:
            (run_dir / subdir).mkdir(exist_ok=True)
        yield run_dir


@contextlib.contextmanager
def held_run_dir(run_dir: Path) -> Iterator[None]:
    """Lock the directory of an existing run and remove temporary files of a killed process.

    Raises:
      InputError: the directory holds no run, or another process has locked it.
    """
    if not holds_run(run_dir):
        raise InputError(f"{run_dir} holds no run to resume; leave out --resume to start one there.")
    with lock(run_dir):
        for folder in (run_dir, *(run_dir / subdir for subdir in _SUBDIRS)):
            remove_temporaries(folder)
        yield


def default_run_dir(name: str) -> Path:
    """The only run directory `runs/<name>`, `runs/<name>-2`, …; raises `InputError` for none or several."""
    numbered = re.compile(rf"{re.escape(name)}(-\d+)?")
    paths = (path for path in Path("runs").glob(f"{name}*") if numbered.fullmatch(path.name))
    runs = sorted(path for path in paths if holds_run(path))
    if not runs:
        raise InputError(f"runs/{name} holds no run to resume; pass its directory as --run-dir.")
    if len(runs) > 1:
        raise InputError(f"there are several runs: {', '.join(map(str, runs))}; choose one with --run-dir.")
    return runs[0]


def make_unique_dir(parent: Path, name: str) -> Path:
    """Create the first of `name`, `name-2`, … in `parent` that does not exist yet."""
    parent.mkdir(parents=True, exist_ok=True)
    path, number = parent / name, 1
    while True:
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1
            path = parent / f"{name}-{number}"


def write_metadata(run_dir: Path, metadata: Mapping[str, Any]) -> None:
    """Write `config.json`."""
    settings = {**metadata["config"], **{name: value for name, value in metadata.items() if name != "config"}}
    write_atomic(run_dir / "config.json", (json.dumps(settings, indent=2) + "\n").encode())


def append_metrics(run_dir: Path, metrics: EpochMetricsOf[Any]) -> None:
    """Append a line to `metrics.jsonl`."""
    append_line(run_dir / "metrics.jsonl", _line(metrics))


def rewrite_metrics(run_dir: Path, history: Iterable[EpochMetricsOf[Any]]) -> None:
    """Replace `metrics.jsonl` by these lines."""
    write_atomic(run_dir / "metrics.jsonl", "".join(_line(metrics) + "\n" for metrics in history).encode())


def metrics_lines(run_dir: Path) -> list[dict[str, Any]]:
    """The parsed lines of `metrics.jsonl`, or none if it does not exist."""
    path = run_dir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def save_figure(run_dir: Path, name: str, png: bytes) -> None:
    """Write `figures/<name>.png`."""
    (run_dir / "figures").mkdir(exist_ok=True)
    write_atomic(run_dir / "figures" / f"{name}.png", png)


def _line(metrics: EpochMetricsOf[Any]) -> str:
    fields = dataclasses.asdict(metrics).items()
    return json.dumps({name: _finite_or_null(value) for name, value in fields if value is not None})


def _finite_or_null(value: Any) -> Any:
    """Replace the losses of diverged members by None: JSON has no NaN or infinity."""
    return [x if math.isfinite(x) else None for x in value] if isinstance(value, list) else value


def holds_run(path: Path) -> bool:
    """Whether `path` is the directory of a run."""
    return os.path.exists(path / "config.json") or any((path / "checkpoints").glob("step_*.safetensors"))


def _is_leftover(path: Path) -> bool:
    """Whether `path` may be left by a run that was killed before its first checkpoint."""
    if path.name in _SUBDIRS and path.is_dir():
        return all(_is_leftover(entry) for entry in path.iterdir())
    return path.name == LOCK_FILE or (path.name.startswith(".") and path.name.endswith(".tmp"))
