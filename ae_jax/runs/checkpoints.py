"""Where a run is, to its checkpoints and back, and which of them are kept."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from ae_jax.errors import DivergedError, InputError
from ae_jax.parallel.mesh import replicate
from ae_jax.parallel.multihost import arrays_from_first
from ae_jax.runs.metadata import Record
from ae_jax.runs.program import Program
from ae_jax.runs.progress import EpochMetrics, EpochMetricsOf, Loss, Progress, ProgressOf
from ae_jax.training.checkpoint import (
    checkpoint_path,
    checkpoint_step,
    list_checkpoints,
    read_checkpoint,
    read_params,
    save_checkpoint,
)
from ae_jax.training.state import TrainState
from ae_jax.types import MembersKeys, RandomKey


def save_progress(run_dir: Path, program: Program, progress: Progress, record: Record) -> None:
    """Write all that the rest of a run depends on, as `checkpoints/step_00000938.safetensors`.

    Raises:
      DivergedError: the parameters are not finite; nothing is written.
      OSError: the folder cannot be written to.
    """
    params = jax.device_get(progress.state.params)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise DivergedError(f"the parameters are not finite after step {progress.step}")
    write_progress(checkpoint_path(run_dir, progress.step), progress, program.shuffle_key, {"record": record})


def write_progress(
    path: Path, progress: ProgressOf[Loss], shuffle_key: RandomKey | MembersKeys, facts: dict[str, Any]
) -> None:
    """Write a run's progress, or a population's, and `facts` about it.

    Raises:
      OSError: the folder cannot be written to.
    """
    epochs, steps = divmod(progress.step, progress.losses.shape[-1])
    save_checkpoint(
        path,
        progress.state,
        arrays={"losses": np.asarray(progress.losses), "shuffle_key": np.asarray(jax.random.key_data(shuffle_key))},
        info={
            "epochs": epochs,
            "steps_in_epoch": steps,
            "seconds_in_epoch": progress.seconds,
            "history": [dataclasses.asdict(metrics) for metrics in progress.history],
            "shuffle_key_impl": str(jax.random.key_impl(shuffle_key)),
            **facts,
        },
    )


def save_imported(run_dir: Path, state: TrainState, record: Record) -> None:
    """Write a state that comes from elsewhere, for a run that has no images yet and so no order of them."""
    save_checkpoint(checkpoint_path(run_dir, 0), state, info={"history": [], "record": record})


def load_imported(
    path: Path | None, info: dict[str, Any], program: Program, like: TrainState
) -> tuple[Program, Progress]:
    """The beginning of a run on what `save_imported` wrote: its parameters, the rest as in `program` and `like`.

    Arguments as for `load_progress`.
    """
    params = read_params(path)[0] if path else jax.device_get(like.params)
    params = replicate(program.mesh, arrays_from_first(params))
    return program, Progress(like.replace(params=params), program.no_losses())


def load_progress(
    path: Path | None, info: dict[str, Any], program: Program, like: TrainState
) -> tuple[Program, Progress]:
    """The run as it was when `save_progress` wrote a checkpoint.

    Args:
      path: the checkpoint, or None in all but a run's first process, which gives the others its content.
      info: the facts in it.
      program: that of the run's settings.
      like: the state to start from with these settings.

    Raises:
      DamagedFileError: the file is not what was written.
      InputError: the state has another structure here.
    """
    key_data = np.asarray(jax.random.key_data(program.shuffle_key))
    state, losses = jax.device_get((like, program.no_losses()))
    if path:
        progress, key = read_progress(path, info, like)
        state, losses, key_data = progress.state, progress.losses, np.asarray(jax.random.key_data(key))
    state, losses, key_data = arrays_from_first((state, losses, key_data))
    key = jax.random.wrap_key_data(jnp.asarray(key_data), impl=info["shuffle_key_impl"])
    state, losses = replicate(program.mesh, (state, losses))
    return dataclasses.replace(program, shuffle_key=key), _progress(state, losses, info)


def read_progress(
    path: Path, info: dict[str, Any], like: TrainState
) -> tuple[ProgressOf[Any], RandomKey | MembersKeys]:
    """What `write_progress` wrote, in host memory; arguments and errors as for `load_progress`."""
    try:
        state, arrays, _ = read_checkpoint(path, like)
    except InputError:  # it says what to do
        raise
    except ValueError as error:
        raise InputError(f"{error}; the versions that the run was begun with are in its config.json.") from error
    key = jax.random.wrap_key_data(jnp.asarray(arrays["shuffle_key"]), impl=info["shuffle_key_impl"])
    return _progress(state, jnp.asarray(arrays["losses"]), info), key


def _progress(state: TrainState, losses: jax.Array, info: dict[str, Any]) -> ProgressOf[Any]:
    step = info["epochs"] * losses.shape[-1] + info["steps_in_epoch"]
    history = tuple(EpochMetricsOf(**metrics) for metrics in info["history"])
    return ProgressOf(state, losses, step, info["seconds_in_epoch"], history)


def set_aside(checkpoints: Iterable[Path]) -> None:
    """Rename damaged checkpoints, so that they count no more: `step_00000938.safetensors.damaged`."""
    for path in checkpoints:
        path.rename(path.with_name(f"{path.name}.damaged"))


def remove_old_checkpoints(run_dir: Path, history: Iterable[EpochMetrics], keep: int) -> None:
    """Delete all but the newest `keep` and the best by test loss; the one at step 0 when there is another."""
    paths = list_checkpoints(run_dir)
    test_losses = {metrics.step: metrics.test_loss for metrics in history}
    measured = [path for path in paths if checkpoint_step(path) in test_losses]
    best = min(measured, key=lambda path: test_losses[checkpoint_step(path)], default=None)
    for path in paths[:-1]:
        if (path not in paths[-keep:] and path != best) or checkpoint_step(path) == 0:
            path.unlink()
