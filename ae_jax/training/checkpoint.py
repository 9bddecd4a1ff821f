"""Train state checkpoints: one safetensors file, verified by a SHA-256 digest."""

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
_EXTRA = "run/"  # name prefix of arrays outside the state
_ADDED = ("opt_state/hyperparams/beta1", "opt_state/hyperparams/beta2")  # leaves that the first checkpoints do not have


class Checkpoint(NamedTuple):
    """The content of a checkpoint file."""

    state: TrainState
    arrays: Tensors  # saved beside the state
    info: dict[str, Any]  # metadata, JSON types


def save_checkpoint(
    path: PathLike,
    state: TrainState,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write a train state to a safetensors file atomically, with a digest: a power failure leaves no partial file.

    Args:
      path: the file, `….safetensors`; an existing one is replaced, and its folder is made, but not the folder's own.
      state: the train state, not donated; arrays are named by path: `params/encoder_0/kernel`, `step`, `opt_state/…`.
      arrays: further arrays, written as `run/<name>`.
      info: further metadata, JSON types.

    Raises:
      OSError: the folder cannot be written to.
    """
    leaves = _named_leaves(jax.device_get(jax.tree.map(_key_data, state)))
    tensors = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    tensors |= {_EXTRA + name: np.asarray(array) for name, array in (arrays or {}).items()}
    Path(path).parent.mkdir(exist_ok=True)
    write_tensors(Path(path), tensors, {**(info or {}), "format": _FORMAT})


def load_checkpoint(path: PathLike, like: TrainState) -> TrainState:
    """Load the train state at `path` into the structure of `like`, a fresh state of the same model and optimizer.

    Raises:
      DamagedFileError: the file is corrupt.
      InputError: it does not exist, or a newer version of this package wrote it.
      ValueError: it holds the state of another model or optimizer.
      OSError: it cannot be opened.
    """
    return read_checkpoint(path, like).state


def read_checkpoint(path: PathLike, like: TrainState) -> Checkpoint:
    """Read a whole checkpoint; arguments and errors as for `load_checkpoint`."""
    tensors, info = _read(Path(path))
    leaves = _named_leaves(like)
    expected = {name: _key_data(leaf) for name, leaf in leaves.items()}
    saved = {name: np.asarray(leaf) for name, leaf in expected.items() if name in _ADDED}
    saved |= {name: array for name, array in tensors.items() if not name.startswith(_EXTRA)}
    shapes, own = ({name: (x.shape, x.dtype) for name, x in arrays.items()} for arrays in (saved, expected))
    if shapes != own:
        raise ValueError(f"{path} holds the state of another model or optimizer")
    restored = [_restore(leaf, saved[name]) for name, leaf in leaves.items()]
    state = jax.tree.unflatten(jax.tree.structure(like), restored)
    return Checkpoint(state, {name[len(_EXTRA) :]: tensors[name] for name in tensors.keys() - saved.keys()}, info)


def read_params(path: PathLike) -> tuple[Params, int, dict[str, Any]]:
    """Read parameters, step and `info` for any model and optimizer; errors as for `load_checkpoint`.

    Raises:
      InputError: the file holds no train state, or parameters that are not finite.
    """
    tensors, info = _read(Path(path))
    step = tensors.get("step", np.zeros(0))
    if step.dtype != np.int32 or step.size == 0 or step.min() < 0:
        raise InputError(f"{path} holds no train state; give a checkpoint of ae_jax.")
    arrays = {name.removeprefix(_PARAMS): x for name, x in tensors.items() if name.startswith(_PARAMS)}
    if not all(x.dtype == np.float32 for x in arrays.values()):
        raise InputError(f"{path} holds parameters that are not float32; give a checkpoint of ae_jax.")
    return _nested(arrays), int(step.max()), info  # members have equal steps


def checkpoint_info(path: PathLike) -> dict[str, Any]:
    """Read the `info` of a checkpoint; errors as for `load_checkpoint`."""
    return _read(Path(path))[1]


def shapes(params: Params) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each parameter by its path."""
    return {name: (leaf.shape, str(leaf.dtype)) for name, leaf in _named_leaves(params).items()}


def _read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    try:
        tensors, info = read_tensors(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist.") from error
    if (found := info.get("format")) != _FORMAT:
        raise InputError(
            f"{path} has the format {str(found)[:20]}, not {_FORMAT}; a newer version of ae_jax may read it."
        )
    return tensors, info


def _nested(arrays: Tensors) -> Params:
    try:
        return traverse_util.unflatten_dict({name: jnp.asarray(x) for name, x in arrays.items()}, sep="/")
    except (TypeError, ValueError) as error:  # one name continues another
        raise InputError("the parameters of a checkpoint have conflicting names; give another one.") from error


def _named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths, in order."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _key_data(leaf: Any) -> Any:
    """Convert random keys to their integers; leave other leaves unchanged."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _restore(leaf: Any, saved: np.ndarray) -> jax.Array:
    array = jnp.asarray(saved)
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
