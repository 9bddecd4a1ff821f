"""A run's folder: taken once, never overwritten, and what is written there.

config.json      every setting, the dataset that was really used, versions, devices
metrics.jsonl    one `EpochMetrics` a line
checkpoints/     step_00000938.safetensors
figures/         reconstructions_epoch_0004.png, loss.png
"""

import dataclasses
import json
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from ae_jax.config import TrainConfig
from ae_jax.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """One line of `metrics.jsonl`."""

    epoch: int  # from 1
    step: int  # optimizer steps since the start
    train_loss: float  # mean over the epoch's images, each at the step that trained on it
    test_loss: float  # mean over all test images, after the epoch
    seconds: float  # of training alone: neither evaluation nor compilation
    images_per_second: float


def refuse_taken(path: Path) -> None:
    """Raise `InputError` where `path` is anything but free for a new run: absent, or an empty folder."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        what = "already holds a run" if (path / "config.json").exists() else "exists and is not an empty folder"
        raise InputError(f"{path} {what}, and nothing is overwritten; give another --run-dir.")


def create_run_dir(config: TrainConfig, dataset: str, devices: Iterable[jax.Device]) -> Path:
    """Make the folder that `config` names, or the first free one of `runs/<arch>`, `runs/<arch>-2`, …

    Args:
      config: the run's settings, written to `config.json`.
      dataset: the dataset that is really used, written there as `dataset_used`.
      devices: the devices that are really used, likewise.

    Raises:
      InputError: it is taken, or cannot be written.
    """
    try:
        run_dir = _claim(Path(config.run_dir)) if config.run_dir else _first_free(Path("runs"), config.arch)
        with (run_dir / "config.json").open("x") as file:  # "x": of two runs that start at once, one gets it
            file.write(json.dumps(_describe(config, dataset, devices), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"the run directory cannot be written ({error}); give another --run-dir.") from error
    return run_dir


def append_metrics(run_dir: Path, metrics: EpochMetrics) -> None:
    """Add a line to `metrics.jsonl`."""
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(dataclasses.asdict(metrics)) + "\n")


def checkpoint_path(run_dir: Path, step: int) -> Path:
    """Where the state after `step` optimizer steps belongs."""
    return run_dir / "checkpoints" / f"step_{step:08d}.safetensors"


def save_figure(run_dir: Path, name: str, figure: "Figure") -> None:
    """Write `figures/<name>.png`."""
    folder = run_dir / "figures"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / f"{name}.png")


def _claim(path: Path) -> Path:
    refuse_taken(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _first_free(parent: Path, arch: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    path, number = parent / arch, 1
    while True:
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1
            path = parent / f"{arch}-{number}"


def _describe(config: TrainConfig, dataset: str, devices: Iterable[jax.Device]) -> dict[str, object]:
    packages = ("ae_jax", "jax", "jaxlib", "flax", "optax", "numpy")
    return {
        **dataclasses.asdict(config),
        "dataset_used": dataset,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "devices_used": [str(device) for device in devices],
    }
