"""Trained weights in one file: parameters under PyTorch's names and the metadata of their run, without optimizer state.

`safetensors.torch.load_file` reads the parameters for `load_state_dict`, as it reads the files of `convert to-torch`.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import safe_open

from ae_jax.errors import InputError
from ae_jax.models.torch_weights import params_to_torch
from ae_jax.runs.metadata import portable_metadata
from ae_jax.runs.trained_model import TrainedModel
from ae_jax.system.regular_file import check_regular_file
from ae_jax.system.schema import conforms
from ae_jax.system.tensorfile import read_tensors, tensor_bytes
from ae_jax.types import StateDict

_FORMAT = "ae_jax/weights/1"


class Weights(NamedTuple):
    """The content of a weights file."""

    state_dict: StateDict
    step: int  # optimizer steps since the start of training
    metadata: Any  # of the run, not checked yet


def portable_weights(trained: TrainedModel) -> Weights:
    """The weights of a model, with metadata for others."""
    metadata = {**portable_metadata(trained.metadata), "test_mse": trained.test_mse}
    return Weights(params_to_torch(trained.model, trained.params), trained.step, metadata)


def weights_bytes(weights: Weights) -> bytes:
    """The content of a weights file; equal weights give equal bytes."""
    return tensor_bytes(weights.state_dict, {"format": _FORMAT, "step": weights.step, "record": weights.metadata})


def read_weights(path: Path) -> Weights:
    """Read and verify a weights file.

    Raises:
      DamagedFileError: the file is corrupt.
      InputError: another version of ae_jax wrote it, or it holds more than float32 weights.
      OSError: it cannot be opened.
    """
    state_dict, info = read_tensors(path)
    step = info.get("step", -1)
    if info.get("format") != _FORMAT or not conforms(step, int) or step < 0 or "record" not in info:
        raise InputError(f"{path} is no weights file of this version of ae_jax; give another one.")
    if not all(array.dtype == np.float32 for array in state_dict.values()):
        raise InputError(f"{path} holds weights that are not float32; give another one.")
    return Weights(state_dict, step, info["record"])


def is_weights_file(path: Path) -> bool:
    """Check the format marker of a file only; `read_weights` validates it."""
    try:
        check_regular_file(path)
        with safe_open(path, framework="np") as file:
            info = json.loads(file.metadata()["ae_jax"])
        return bool(info["format"] == _FORMAT)
    except Exception:  # safetensors and json raise many types for other files
        return False
