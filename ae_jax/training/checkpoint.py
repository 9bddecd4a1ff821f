"""Checkpoints of a train state: one safetensors file, verified by a SHA-256 digest."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util
from jax import numpy as jnp

from ae_jax.errors import CorruptFileError, InputError
from ae_jax.system import write_atomic
from ae_jax.tensorfile import Tensors, read_tensors, tensor_bytes
from ae_jax.training.state import TrainState
from ae_jax.types import Params, PathLike

_FORMAT = "ae_jax/2"
_PARAMS = "params/"
_log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """The content of a checkpoint file."""

    path: Path
    tensors: Tensors  # of the state, by their paths: "params/encoder_0/kernel", "step", "opt_state/…"
    info: dict[str, Any]  # metadata, JSON types

    @property
    def step(self) -> int:
        """Optimizer steps taken."""
        return int(self.tensors["step"])

    @property
    def params(self) -> Params:
        """The parameters, for any model."""
        arrays = {tuple(name.split("/")[1:]): x for name, x in self.tensors.items() if name.startswith(_PARAMS)}
        return traverse_util.unflatten_dict({path: jnp.asarray(x) for path, x in arrays.items()})

    def restore(self, like: TrainState) -> TrainState:
        """The state, in the structure of `like`; errors as for `load_checkpoint`."""
        leaves, expected = _named_leaves(like), _named_leaves(jax.tree.map(_key_data, like))
        saved, own = ({name: (x.shape, x.dtype) for name, x in each.items()} for each in (self.tensors, expected))
        if saved != own:
            raise ValueError(f"{self.path} holds the state of another model or optimizer")
        restored = [_restore(leaf, self.tensors[name]) for name, leaf in leaves.items()]
        return jax.tree.unflatten(jax.tree.structure(like), restored)


def save_checkpoint(path: PathLike, state: TrainState) -> None:
    """Write a train state to a safetensors file atomically, with a digest: a power failure leaves no partial file.

    Args:
      path: the file, `….safetensors`; an existing one is replaced, and its folder is made, but not the folder's own.
      state: the train state, not donated; arrays are named by path: `params/encoder_0/kernel`, `step`, `opt_state/…`.

    Raises:
      OSError: the folder cannot be written to.
    """
    write_checkpoint(path, state, {})


def write_checkpoint(path: PathLike, state: TrainState, info: Mapping[str, Any]) -> None:
    """`save_checkpoint` with further metadata, JSON types, which `read_checkpoint` returns."""
    Path(path).parent.mkdir(exist_ok=True)
    tensors = _named_leaves(jax.tree.map(np.asarray, jax.device_get(jax.tree.map(_key_data, state))))
    write_atomic(Path(path), tensor_bytes(tensors, {**info, "format": _FORMAT}))


def load_checkpoint(path: PathLike, like: TrainState) -> TrainState:
    """Load the train state at `path` into the structure of `like`, a fresh state of the same model and optimizer.

    Raises:
      CorruptFileError: the file cannot be read.
      InputError: another version of this package wrote it.
      ValueError: it holds the state of another model or optimizer.
    """
    return read_checkpoint(path).restore(like)


def read_checkpoint(path: PathLike) -> Checkpoint:
    """Read and verify a checkpoint; errors as for `load_checkpoint`."""
    tensors, info = read_tensors(Path(path))
    if info.get("format") != _FORMAT:
        raise InputError(f"{path} is no checkpoint of this version of ae_jax; give another one.")
    return Checkpoint(Path(path), tensors, info)


def latest_checkpoint(folder: PathLike) -> Path | None:
    """The newest valid checkpoint of a run directory or of its `checkpoints`, or None if there is no checkpoint.

    Corrupt files are named in a warning and skipped; `InputError` if there are checkpoints, but none is valid.
    """
    newest = read_latest_checkpoint(folder)
    return newest.path if newest else None


def read_latest_checkpoint(folder: PathLike) -> Checkpoint | None:
    """The content of `latest_checkpoint`."""
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            return read_checkpoint(path)
        except CorruptFileError as error:
            _log.warning("%s It is skipped.", error)
    if paths:
        raise InputError(f"no checkpoint in {paths[0].parent} is valid; start a new run.")
    return None


def list_checkpoints(folder: PathLike) -> list[Path]:
    """The files `step_00000938.safetensors` of a run directory or of its `checkpoints`, by step."""
    inside = Path(folder, "checkpoints")
    paths = (inside if inside.is_dir() else Path(folder)).glob("step_*.safetensors")
    return sorted((path for path in paths if re.fullmatch(r"step_\d+", path.stem)), key=checkpoint_step)


def checkpoint_step(path: Path) -> int:
    """The optimizer step in a checkpoint's name."""
    return int(path.stem.removeprefix("step_"))


def _named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths, in order."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _key_data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _restore(leaf: Any, saved: np.ndarray) -> jax.Array:
    array = jnp.asarray(saved)
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
