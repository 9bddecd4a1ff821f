"""Reader for PyTorch state dicts: safetensors without PyTorch, `.pt` and `.pth` with its `weights_only` unpickler."""

import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from ae_jax.errors import InputError
from ae_jax.types import StateDict

_OTHER_CALLS = {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}  # opcodes that torch.save does not write
_GLOBALS = re.compile(r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage")


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
    except Exception as error:  # safetensors and NumPy raise many types for malformed files
        raise InputError(f"{path} cannot be read as float tensors: {error}. Save it with safetensors.torch.") from error


def _from_pickle(path: Path) -> StateDict:
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{path} needs PyTorch: pip install torch, or save with safetensors.torch.") from error
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # a storage ends with the file
    except Exception as error:  # zipfile and PyTorch raise many types for a file without a state dict
        raise InputError(f"{path} is corrupt or holds more than weights; save model.state_dict().") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path} is not a mapping from names to tensors; save model.state_dict().")
    if sum(tensor.numel() for tensor in content.values()) > path.stat().st_size:  # expanded, with strides of 0
        raise InputError(f"{path} has tensors larger than the file; save model.state_dict() of contiguous tensors.")
    try:
        return {str(name): tensor.detach().float().numpy().copy() for name, tensor in content.items()}
    except Exception as error:  # sparse, quantised, without data, …
        raise InputError(f"{path} holds tensors that are not dense numbers; save model.state_dict().") from error


def _check_archive(path: Path) -> None:
    """Raise `ValueError` unless `torch.save` of a state dict may have written the file.

    The `weights_only` unpickler calls functions such as `bytearray`, which allocate what the pickle says, and unpacks
    compressed members.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("a member is compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("members overlap")
        pickles = [archive.read(member) for member in members if member.filename.endswith(".pkl")]
    for opcode, name, _ in (each for content in pickles for each in pickletools.genops(content)):
        if opcode.name in _OTHER_CALLS or (opcode.name == "GLOBAL" and not _GLOBALS.fullmatch(str(name))):
            raise ValueError(f"it calls {name}")
