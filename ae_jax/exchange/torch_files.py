"""Reader for PyTorch state dicts: safetensors without PyTorch, `.pt` and `.pth` with its `weights_only` unpickler."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ae_jax.errors import InputError
from ae_jax.types import StateDict


def read_state_dict(path: Path) -> StateDict:
    """Read the arrays of a state dict as float32.

    Raises:
      InputError: the file is missing, corrupt or not a mapping from names to finite tensors, or PyTorch is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a state dict in .safetensors, .pt or .pth.")
    if path.suffix == ".safetensors":
        arrays = _from_safetensors(path)
    elif path.suffix in (".pt", ".pth"):
        arrays = _from_pickle(path)
    else:
        raise InputError(f"{path} must end in .safetensors, .pt or .pth.")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{name} in {path} is not finite; give finite weights.")
    return arrays


def _from_safetensors(path: Path) -> StateDict:
    try:
        return {name: array.astype(np.float32) for name, array in load_file(path).items()}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be read as float tensors: {error}. Save it with safetensors.torch.") from error


def _from_pickle(path: Path) -> StateDict:
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{path} needs PyTorch: pip install torch, or save with safetensors.torch.") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises many types for a file without a state dict
        raise InputError(f"{path} is corrupt or holds more than weights; save model.state_dict().") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path} is not a mapping from names to tensors; save model.state_dict().")
    return {str(name): tensor.detach().float().numpy() for name, tensor in content.items()}
