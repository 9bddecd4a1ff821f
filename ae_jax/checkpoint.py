"""A training state to one safetensors file and back."""

from pathlib import Path

import jax
import numpy as np
from jax import numpy as jnp

from ae_jax.state import TrainState
from ae_jax.tensorfile import read_tensors, write_tensors


def save_checkpoint(path: Path, state: TrainState) -> None:
    """Write every array of `state`, named by its place: `params/encoder_0/kernel`, `step`, `opt_state/…`.

    Raises:
      OSError: the folder cannot be written to.
    """
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
    write_tensors(path, {_name(key_path): np.asarray(leaf) for key_path, leaf in leaves}, {"format": "ae_jax/1"})


def load_checkpoint(path: Path, like: TrainState) -> TrainState:
    """The state saved at `path`, with the structure of `like`: a fresh state of the same model and optimizer.

    Raises:
      DamagedFileError: the file is not what was written.
      ValueError: it holds the state of another model or optimizer.
      OSError: it cannot be opened.
    """
    tensors, _ = read_tensors(path)
    expected = {
        _name(key_path): (leaf.shape, leaf.dtype) for key_path, leaf in jax.tree_util.tree_leaves_with_path(like)
    }
    if {name: (array.shape, array.dtype) for name, array in tensors.items()} != expected:
        raise ValueError(f"{path} holds the state of another model or optimizer")
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(tensors[name]) for name in expected])


def _name(key_path: tuple[object, ...]) -> str:
    return jax.tree_util.keystr(key_path, simple=True, separator="/")
