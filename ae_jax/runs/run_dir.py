"""A run's folder: taken once, for one process at a time, never overwritten, and what is written there.

config.json      every setting, the dataset that was really used, versions, devices
metrics.jsonl    one `EpochMetrics` a line
checkpoints/     step_00000938.safetensors
figures/         reconstructions_epoch_0004.png, loss.png
"""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ae_jax.errors import InputError
from ae_jax.runs.progress import EpochMetricsOf
from ae_jax.system.atomic import append_line, remove_temporaries, sync_folder, write_whole
from ae_jax.system.lock import LOCK_FILE, lock, refuse_in_use

_FOLDERS = ("checkpoints", "figures")


def check_run_dir_is_free(path: Path) -> None:
    """Raise `InputError` where `path` is anything but free for a new run: absent, or an empty folder."""
    try:
        entries = {entry.name for entry in path.iterdir()}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InputError(f"{path} is no folder; give another --run-dir.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give another --run-dir.") from error
    if holds_run(path):
        refuse_in_use(path)
        raise InputError(
            f"{path} already holds a run, and nothing is overwritten; continue it with --resume, "
            "or give another --run-dir."
        )
    if any(not _is_left_over(path / entry) for entry in entries):
        raise InputError(f"{path} is not empty, and nothing is overwritten; give another --run-dir.")


@contextlib.contextmanager
def new_run_dir(path: str | None, name: str) -> Iterator[Path]:
    """Take the folder at `path`, or the first free one of `runs/<name>`, `runs/<name>-2`, … for this process.

    Raises:
      InputError: it is taken, or cannot be written.
    """
    try:
        run_dir = _claim(Path(path)) if path else fresh_folder(Path("runs"), name)
        sync_folder(run_dir.parent)
    except OSError as error:
        raise InputError(f"the run directory cannot be written ({error}); give another --run-dir.") from error
    with lock(run_dir):
        check_run_dir_is_free(run_dir)  # of two runs that start at once, one gets it
        for name in _FOLDERS:
            (run_dir / name).mkdir(exist_ok=True)
        yield run_dir


@contextlib.contextmanager
def held_run_dir(run_dir: Path) -> Iterator[None]:
    """Take a folder that holds a run for this process, and remove what a killed one left half-written.

    Raises:
      InputError: it holds no run, or another process has it.
    """
    if not holds_run(run_dir):
        raise InputError(f"{run_dir} holds no run to continue; leave out --resume to start one there.")
    with lock(run_dir):
        for folder in (run_dir, *(run_dir / name for name in _FOLDERS)):
            remove_temporaries(folder)
        yield


def default_run_dir(name: str) -> Path:
    """The one run in `runs` whose folder begins with `name`.

    Raises:
      InputError: there are several, or none.
    """
    runs = sorted(path for path in Path("runs").glob(f"{name}*") if holds_run(path))
    if not runs:
        raise InputError(f"runs/{name} holds no run to continue; say by --run-dir where it is.")
    if len(runs) > 1:
        raise InputError(f"there are several runs, {', '.join(map(str, runs))}; say by --run-dir which to continue.")
    return runs[0]


def fresh_folder(parent: Path, name: str) -> Path:
    """Make the first of `name`, `name-2`, … in `parent` that is not there."""
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
    write_whole(run_dir / "config.json", (json.dumps(settings, indent=2) + "\n").encode())


def append_metrics(run_dir: Path, metrics: EpochMetricsOf[Any]) -> None:
    """Add a line to `metrics.jsonl`."""
    append_line(run_dir / "metrics.jsonl", _line(metrics))


def rewrite_metrics(run_dir: Path, history: Iterable[EpochMetricsOf[Any]]) -> None:
    """Have `metrics.jsonl` hold just these lines."""
    write_whole(run_dir / "metrics.jsonl", "".join(_line(metrics) + "\n" for metrics in history).encode())


def metrics_lines(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, as far as it is there."""
    path = run_dir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def save_picture(run_dir: Path, name: str, png: bytes) -> None:
    """Write `figures/<name>.png`."""
    write_whole(run_dir / "figures" / f"{name}.png", png)


def _line(metrics: EpochMetricsOf[Any]) -> str:
    return json.dumps({name: _or_null(value) for name, value in dataclasses.asdict(metrics).items()})


def _or_null(value: Any) -> Any:
    """JSON has no word for the loss of a member that diverged."""
    return [x if math.isfinite(x) else None for x in value] if isinstance(value, list) else value


def holds_run(path: Path) -> bool:
    """Whether a run has begun there."""
    return os.path.exists(path / "config.json") or any((path / "checkpoints").glob("step_*.safetensors"))


def _is_left_over(path: Path) -> bool:
    """Whether a run that was killed before it had begun leaves this behind."""
    if path.name in _FOLDERS and path.is_dir():
        return all(_is_left_over(entry) for entry in path.iterdir())
    return path.name == LOCK_FILE or (path.name.startswith(".") and path.name.endswith(".tmp"))


def _claim(path: Path) -> Path:
    check_run_dir_is_free(path)
    path.mkdir(parents=True, exist_ok=True)
    return path
