"""A training state to one safetensors file and back, verified by a digest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util
from jax import numpy as jnp

from ae_jax.errors import InputError
from ae_jax.system.tensorfile import Tensors, read_tensors, write_tensors
from ae_jax.training.state import TrainState
from ae_jax.types import Params, PathLike

_FORMAT = "ae_jax/1"
_PARAMS = "params/"
_EXTRA = "run/"  # before the names of arrays that are no part of the state


class Checkpoint(NamedTuple):
    """What a checkpoint holds."""

    state: TrainState
    arrays: Tensors  # what was saved beside the state
    info: dict[str, Any]  # the same, of JSON's types


def save_checkpoint(
    path: PathLike,
    state: TrainState,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write every array of `state`, named by its place: `params/encoder_0/kernel`, `step`, `opt_state/…`.

    The file is there whole or not at all, also after a power cut, and holds a digest of its content.

    Args:
      path: the file, `….safetensors`; one that is there is replaced.
      state: what `load_checkpoint` gives back; nothing of it is used up.
      arrays: further arrays, written as `run/<name>`.
      info: further facts, of JSON's types.

    Raises:
      OSError: the folder cannot be written to.
    """
    leaves, _ = jax.tree.flatten_with_path(jax.device_get(jax.tree.map(_key_data, state)))
    tensors = {_name(key_path): np.asarray(leaf) for key_path, leaf in leaves}
    tensors |= {_EXTRA + name: np.asarray(array) for name, array in (arrays or {}).items()}
    write_tensors(Path(path), tensors, {**(info or {}), "format": _FORMAT})


def load_checkpoint(path: PathLike, like: TrainState) -> TrainState:
    """The state saved at `path`, with the structure of `like`: a fresh state of the same model and optimizer.

    Raises:
      DamagedFileError: the file is not what was written.
      InputError: it does not exist, or a newer version of this package wrote it.
      ValueError: it holds the state of another model or optimizer.
      OSError: it cannot be opened.
    """
    return read_checkpoint(path, like).state


def read_checkpoint(path: PathLike, like: TrainState) -> Checkpoint:
    """All that `save_checkpoint` was given; arguments and errors as for `load_checkpoint`."""
    tensors, info = _read(Path(path))
    leaves, _ = jax.tree.flatten_with_path(like)
    saved = {name: array for name, array in tensors.items() if not name.startswith(_EXTRA)}
    expected = {_name(key_path): _key_data(leaf) for key_path, leaf in leaves}
    if {name: (x.shape, x.dtype) for name, x in saved.items()} != {
        name: (x.shape, x.dtype) for name, x in expected.items()
    }:
        raise ValueError(f"{path} holds the state of another model or optimizer")
    state = jax.tree.map_with_path(lambda key_path, leaf: _like(leaf, saved[_name(key_path)]), like)
    return Checkpoint(state, {name[len(_EXTRA) :]: tensors[name] for name in tensors.keys() - saved.keys()}, info)


def read_params(path: PathLike) -> tuple[Params, int, dict[str, Any]]:
    """Of whatever model and optimizer the parameters, the step and the facts; errors as for `load_checkpoint`."""
    tensors, info = _read(Path(path))
    flat = {
        tuple(name.split("/")[1:]): jnp.asarray(array) for name, array in tensors.items() if name.startswith(_PARAMS)
    }
    step = tensors["step"].max()  # of a population each member's, and all the same
    return traverse_util.unflatten_dict(flat), int(step), info


def checkpoint_info(path: PathLike) -> dict[str, Any]:
    """The facts that `save_checkpoint` was given; errors as for `load_checkpoint`."""
    return _read(Path(path))[1]


def _read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    try:
        tensors, info = read_tensors(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist.") from error
    if (found := info.get("format")) != _FORMAT:
        raise InputError(f"{path} has the format {found}, not {_FORMAT}; a newer version of ae_jax may read it.")
    return tensors, info


def _name(key_path: tuple[object, ...]) -> str:
    return jax.tree_util.keystr(key_path, simple=True, separator="/")


def _key_data(leaf: Any) -> Any:
    """The integers behind random keys; anything else as it is."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(leaf: Any, saved: np.ndarray) -> jax.Array:
    array = jnp.asarray(saved)
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
