"""Reader for PyTorch state dicts: safetensors without PyTorch, `.pt` and `.pth` with its `weights_only` unpickler."""

import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax import numpy as jnp
from safetensors.numpy import load_file

from ae_jax.errors import InputError
from ae_jax.types import StateDict

# Opcodes that torch.save writes for a state dict. No other opcode may call anything.
_OPCODES = {
    *("PROTO", "STOP", "MARK", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "BINPERSID"),
    *("NONE", "NEWFALSE", "NEWTRUE", "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("GLOBAL", "REDUCE", "BUILD"),
}
_MAX_TUPLES = 10_000  # torch.save writes five for a tensor; our models have at most 16 tensors
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
        arrays = load_file(path)
    except Exception as error:  # safetensors and NumPy raise many types for malformed files
        raise InputError(f"{path} cannot be read as float tensors: {error}. Save it with safetensors.torch.") from error
    if any(name.startswith("params/") for name in arrays):
        raise InputError(f"{path} is already a checkpoint of ae_jax; pass it directly to the other commands.")
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise InputError(f"{name} in {path} is {array.dtype}; give weights that are floats.")
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _from_pickle(path: Path) -> StateDict:
    try:
        _check_archive(path)
    except Exception as error:  # zipfile and pickletools raise many types for malformed files
        raise InputError(f"{path} is corrupt or holds more than weights; save model.state_dict().") from error
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{path} needs PyTorch: pip install torch, or save with safetensors.torch.") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # a storage ends with the file
    except Exception as error:  # many types for a file without a state dict
        raise InputError(f"{path} is corrupt or holds more than weights; save model.state_dict().") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path} is not a mapping from names to tensors; save model.state_dict().")
    if sum(tensor.numel() for tensor in content.values()) > path.stat().st_size:  # expanded, with strides of 0
        raise InputError(f"{path} has tensors larger than the file; save model.state_dict() of contiguous tensors.")
    try:
        return {str(name): _float32(tensor) for name, tensor in content.items()}
    except Exception as error:  # sparse, quantised, without data, …
        raise InputError(f"{path} holds tensors that are not dense floats; save model.state_dict().") from error


def _float32(tensor: Any) -> np.ndarray:
    if not tensor.is_floating_point():
        raise TypeError(f"it is {tensor.dtype}")
    return tensor.detach().float().numpy().copy()


def _check_archive(path: Path) -> None:
    """Raise `ValueError` unless `torch.save` of a state dict may have written the file.

    The `weights_only` unpickler calls functions such as `bytearray`, which allocate what the pickle says, unpacks
    compressed members, and ignores checksums.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("a member is compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("members overlap")
        if corrupt := archive.testzip():
            raise ValueError(f"the checksum of {corrupt} is wrong")
        pickles = [archive.read(member) for member in members if member.filename.endswith(".pkl")]
    for content in pickles:
        _check_pickle(content)


def _check_pickle(content: bytes) -> None:
    """Raise `ValueError` for opcodes, calls and tuples that are not in a state dict.

    Tuples may be keys. To hash n of them takes 2^n steps if each holds the next twice, and a stack of n if they are
    nested.
    """
    last, num_tuples, tuples = "", 0, set()
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in _OPCODES or (opcode.name == "GLOBAL" and not _GLOBALS.fullmatch(str(argument))):
            raise ValueError(f"it holds {opcode.name} {argument}")
        num_tuples += "TUPLE" in opcode.name
        if opcode.name.endswith("PUT") and "TUPLE" in last:
            tuples.add(argument)
        if num_tuples > _MAX_TUPLES or (opcode.name.endswith("GET") and argument in tuples):
            raise ValueError("it holds tuples of tuples")
        last = opcode.name
