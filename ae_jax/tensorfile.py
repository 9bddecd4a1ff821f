"""Named arrays in a safetensors file with a SHA-256 digest, verified when read."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jax import numpy as jnp
from safetensors import safe_open
from safetensors.numpy import save

from ae_jax.errors import CorruptFileError, reading

Tensors: TypeAlias = dict[str, np.ndarray]


def tensor_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> bytes:
    """The content of a file of `tensors` and `metadata` (JSON types).

    The file's only metadata key, `ae_jax`, holds `metadata` and `sha256`, a digest of it and of the tensors' names,
    dtypes and bytes, as JSON. safetensors orders several keys at random; with one, equal content gives equal files.
    It cannot read 8-bit floats into NumPy: those are written as `u8`, with their dtypes in `dtypes`.
    """
    viewed = {name: str(x.dtype) for name, x in tensors.items() if x.dtype.isbuiltin == 2 and x.dtype.itemsize == 1}
    dtypes = {"dtypes": viewed} if viewed else {}
    header = json.dumps({**metadata, **dtypes, "sha256": _digest(tensors, metadata)}, sort_keys=True)
    arrays = {name: np.ascontiguousarray(x).reshape(x.shape) for name, x in tensors.items()}  # not so, save permutes
    return save({name: x.view(np.uint8) if name in viewed else x for name, x in arrays.items()}, {"ae_jax": header})


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read and verify the tensors and the metadata of `tensor_bytes`; raises `CorruptFileError` for other files."""
    with reading(path):
        path.open("rb").close()  # an error of the system has a text that names the cause
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            metadata = json.loads((file.metadata() or {}).get("ae_jax", "{}"))
        dtypes = metadata.pop("dtypes", {})
        tensors |= {name: tensors[name].view(jnp.dtype(dtype)) for name, dtype in dtypes.items()}
        given = metadata.pop("sha256", None)
        if given is None:
            raise CorruptFileError(f"{path} is corrupt or was not written by ae_jax: it has no digest of its content.")
        if given != _digest(tensors, metadata):
            raise CorruptFileError(f"{path} is corrupt: its content does not match its digest.")
    text = json.dumps(metadata, ensure_ascii=False).encode(errors="replace")  # a stranger's may hold what is no text
    return tensors, json.loads(text, parse_constant=lambda name: None)  # and NaN


def _digest(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    shapes = {name: [str(tensors[name].dtype), tensors[name].shape] for name in sorted(tensors)}
    digest = hashlib.sha256(json.dumps([shapes, dict(metadata)], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
