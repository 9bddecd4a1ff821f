"""The checkpoint files of a run directory: their names, the newest valid one, and which to keep."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ae_jax.errors import DamagedFileError, InputError, reason
from ae_jax.runs.progress import EpochMetricsOf
from ae_jax.training.checkpoint import checkpoint_info
from ae_jax.types import PathLike

_NAME = re.compile(r"step_(\d+)\.safetensors")
_log = logging.getLogger(__name__)


def latest_checkpoint(folder: PathLike) -> Path | None:
    """The newest valid checkpoint of a run directory or of its `checkpoints`, or None if there is no checkpoint.

    Files that are corrupt or cannot be read are named in a warning and skipped.

    Raises:
      InputError: there are checkpoints, but none is valid.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            checkpoint_info(path)
            return path
        except DamagedFileError as error:
            _log.warning("%s It is skipped.", error)
        except OSError as error:
            _log.warning("%s cannot be read (%s). It is skipped.", path, reason(error))
    if paths:
        raise InputError(f"no checkpoint in {paths[0].parent} is valid; start a new run.")
    return None


def list_checkpoints(folder: PathLike) -> list[Path]:
    """The files `step_00000938.safetensors` of a run directory or of its `checkpoints`, by step."""
    folder = Path(folder)
    inside = folder / "checkpoints"
    paths = (inside if inside.is_dir() else folder).glob("step_*.safetensors")
    return sorted((path for path in paths if _NAME.fullmatch(path.name)), key=checkpoint_step)


def checkpoint_step(path: Path) -> int:
    """The optimizer step in a checkpoint's name."""
    match = _NAME.fullmatch(path.name)
    assert match, f"{path} is not a checkpoint's name"
    return int(match[1])


def checkpoint_path(run_dir: Path, step: int) -> Path:
    """The path of the checkpoint after `step` optimizer steps."""
    return run_dir / "checkpoints" / f"step_{step:08d}.safetensors"


def quarantine(checkpoints: Iterable[Path]) -> None:
    """Rename checkpoints so that they no longer count: `step_00000938.safetensors.damaged`."""
    for path in checkpoints:
        path.rename(path.with_name(f"{path.name}.damaged"))


def remove_old_checkpoints(run_dir: Path, history: Iterable[EpochMetricsOf[Any]], keep: int) -> None:
    """Delete all but the newest `keep` checkpoints and a run's best by validation; step 0 when there is another."""
    paths = list_checkpoints(run_dir)
    losses = {each.step: each.validation_loss for each in history if isinstance(each.validation_loss, float)}
    measured = [path for path in paths if checkpoint_step(path) in losses]
    best = min(measured, key=lambda path: losses[checkpoint_step(path)], default=None)
    for path in paths[:-1]:
        if (path not in paths[-keep:] and path != best) or checkpoint_step(path) == 0:
            path.unlink()
