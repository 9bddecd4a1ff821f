"""PyTorch's state dicts in files: safetensors without PyTorch, `.pt` and `.pth` with it, never through free pickle."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ae_jax.errors import InputError
from ae_jax.types import StateDict


def read_state_dict(path: Path) -> StateDict:
    """The arrays of a state dict, as float32.

    Raises:
      InputError: the file is missing, damaged, or holds anything but finite tensors by name, or PyTorch is wanted and
        not installed.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give a state dict, .safetensors, .pt or .pth.")
    if path.suffix == ".safetensors":
        arrays = _from_safetensors(path)
    elif path.suffix in (".pt", ".pth"):
        arrays = _from_pickle(path)
    else:
        raise InputError(f"{path} must end in .safetensors, .pt or .pth.")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{name} in {path} is not finite everywhere; give weights that are.")
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
        raise InputError(
            f"{path} wants PyTorch to be read; pip install torch, or save it there with safetensors.torch.save_file."
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of all that PyTorch raises for what is no state dict
        raise InputError(f"{path} is damaged, or holds more than weights; save model.state_dict().") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path} holds other things than tensors by name; save model.state_dict().")
    return {str(name): tensor.detach().float().numpy() for name, tensor in content.items()}
