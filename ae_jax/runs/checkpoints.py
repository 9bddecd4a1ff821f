"""Checkpoints of a run: its progress and metadata in a file, and back on its devices."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh

from ae_jax.errors import DivergedError, InputError
from ae_jax.parallel.multihost import broadcast_arrays
from ae_jax.runs.checkpoint_files import checkpoint_path
from ae_jax.runs.loop import Trainable
from ae_jax.runs.metadata import Metadata
from ae_jax.runs.progress import EpochMetricsOf, Loss, ProgressOf, invalid_checkpoint
from ae_jax.system.schema import conforms
from ae_jax.training.checkpoint import read_checkpoint, read_params, save_checkpoint, shapes
from ae_jax.training.state import TrainState
from ae_jax.types import AnyLosses, MembersKeys, Params, RandomKey

_POSITION_TYPES = {"epochs": int, "steps_in_epoch": int, "seconds_in_epoch": float, "shuffle_key_impl": str}


class RunProgram(Trainable, Protocol):
    """The program of a run or of a population, as far as its lifecycle needs it."""

    @property
    def mesh(self) -> Mesh:
        """The devices."""

    @property
    def shuffle_key(self) -> Any:
        """The key of the epochs' orders, or the members' keys."""

    def check_params(self, params: Params, step: int) -> None:
        """Raise `DivergedError` if these parameters must not be saved."""

    def place(self, tree: Any) -> Any:
        """Place arrays on the devices."""

    def fetch(self, tree: Any) -> Any:
        """Copy arrays from the devices to NumPy, without padding."""

    def with_shuffle_key(self, key: Any) -> Any:
        """The same program with another shuffle key."""


AnyProgram = TypeVar("AnyProgram", bound=RunProgram)


def save_progress(run_dir: Path, program: RunProgram, progress: ProgressOf[Any], info: dict[str, Any]) -> None:
    """Write the progress of a run, and `info`, as `checkpoints/step_00000938.safetensors`.

    Raises:
      DivergedError: the parameters are not finite; nothing is written.
      OSError: the folder cannot be written to.
    """
    state, losses = program.fetch((progress.state, progress.losses))
    program.check_params(state.params, progress.step)
    progress = dataclasses.replace(progress, state=state, losses=losses)
    write_progress(checkpoint_path(run_dir, progress.step), progress, program.shuffle_key, info)


def write_progress(
    path: Path, progress: ProgressOf[Loss], shuffle_key: RandomKey | MembersKeys, info: dict[str, Any]
) -> None:
    """Write the progress of a run, or of a population, and `info` to a file.

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
            **info,
        },
    )


def load_progress(
    path: Path | None, info: dict[str, Any], program: AnyProgram, state: TrainState
) -> tuple[AnyProgram, ProgressOf[Any]]:
    """The run as it was when `save_progress` wrote a checkpoint.

    Args:
      path: the checkpoint, or None in every process but process 0, which broadcasts the content.
      info: the checkpoint's info.
      program: the program of the run's settings.
      state: the initial state with these settings.

    Raises:
      DamagedFileError: the file is corrupt.
      InputError: the state has another structure here.
    """
    state, losses = program.fetch((state, program.no_losses()))
    key_data = np.asarray(jax.random.key_data(program.shuffle_key))
    if path:
        progress, key = read_progress(path, info, state)
        _check_progress(path, progress, key, losses, program)
        state, losses, key_data = progress.state, progress.losses, np.asarray(jax.random.key_data(key))
    state, losses, key_data = broadcast_arrays((state, losses, key_data))
    key = jax.random.wrap_key_data(jnp.asarray(key_data), impl=info["shuffle_key_impl"])
    state, losses = program.place((state, losses))
    return program.with_shuffle_key(key), _progress(state, losses, info)


def read_progress(
    path: Path, info: dict[str, Any], like: TrainState
) -> tuple[ProgressOf[Any], RandomKey | MembersKeys]:
    """Read what `write_progress` wrote, into host memory.

    Args:
      path: the file.
      info: its info.
      like: a state of the same structure.

    Raises:
      DamagedFileError: the file is corrupt.
      InputError: the state has another structure here.
    """
    try:
        state, arrays, _ = read_checkpoint(path, like)
    except InputError:  # its message says what to do
        raise
    except ValueError as error:
        raise InputError(f"{error}; the run's config.json has the versions that it was started with.") from error
    is_position = all(conforms(info.get(name), hint) for name, hint in _POSITION_TYPES.items())
    if not is_position or not 0 <= info["seconds_in_epoch"] < math.inf:
        raise invalid_checkpoint(path, "position")
    try:
        key = jax.random.wrap_key_data(jnp.asarray(arrays["shuffle_key"]), impl=info["shuffle_key_impl"])
        return _progress(state, jnp.asarray(arrays["losses"]), info), key
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise invalid_checkpoint(path, "shuffle key or losses") from error


def save_imported(run_dir: Path, state: TrainState, metadata: Metadata) -> None:
    """Write a state with imported parameters, for a run that has no images yet."""
    save_checkpoint(checkpoint_path(run_dir, 0), state, info={"history": [], "record": metadata})


def load_imported(
    path: Path | None, info: dict[str, Any], program: AnyProgram, state: TrainState
) -> tuple[AnyProgram, ProgressOf[Any]]:
    """The start of a run from `save_imported`'s parameters, otherwise as `program` and `state`.

    Arguments as for `load_progress`.
    """
    expected = program.fetch(state.params)
    params = read_params(path)[0] if path else expected
    if path and shapes(params) != shapes(expected):
        raise invalid_checkpoint(path, "set of parameters")
    params = program.place(broadcast_arrays(params))
    return program, ProgressOf(state.replace(params=params), program.no_losses())


def _progress(state: TrainState, losses: jax.Array, info: dict[str, Any]) -> ProgressOf[Any]:
    step = info["epochs"] * losses.shape[-1] + info["steps_in_epoch"]
    history = tuple(EpochMetricsOf(**metrics) for metrics in info["history"])
    return ProgressOf(state, losses, step, info["seconds_in_epoch"], history)


def _check_progress(
    path: Path, progress: ProgressOf[Any], key: RandomKey | MembersKeys, losses: AnyLosses, program: RunProgram
) -> None:
    """Raise `InputError` unless the progress from `path` is one of `program`, whose losses are like `losses`."""
    if (progress.losses.shape, progress.losses.dtype) != (losses.shape, losses.dtype):
        raise invalid_checkpoint(path, "losses")
    if key.shape != program.shuffle_key.shape:
        raise invalid_checkpoint(path, "shuffle key")
    epochs, steps = divmod(progress.step, losses.shape[-1])
    if not np.all(np.asarray(progress.state.step) == progress.step) or len(progress.history) != epochs:
        raise invalid_checkpoint(path, f"position: step {steps} of epoch {epochs + 1}")
    sizes = {
        np.shape(loss)
        for metrics in progress.history
        for loss in (metrics.train_loss, metrics.test_loss, metrics.validation_loss)
        if loss is not None
    }
    if sizes - {losses.shape[:-1]}:
        raise invalid_checkpoint(path, "history")
    try:
        program.check_params(progress.state.params, progress.step)
    except DivergedError as error:
        raise InputError(f"{path}: {error}; delete it to resume from an earlier checkpoint.") from error
