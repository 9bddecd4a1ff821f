"""Named arrays in a safetensors file with a SHA-256 digest: written atomically, verified when read."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from ae_jax.errors import DamagedFileError
from ae_jax.system.atomic import write_atomic
from ae_jax.system.regular_file import check_regular_file

Tensors: TypeAlias = dict[str, np.ndarray]
_MAX_NESTING = 100  # levels of metadata; those of a checkpoint have 5


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write `tensors` and `metadata` (JSON types); errors as for `write_atomic`."""
    write_atomic(path, tensor_bytes(tensors, metadata))


def tensor_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> bytes:
    """The content of a file of `tensors` and `metadata` (JSON types).

    The file's only metadata key, `ae_jax`, holds `metadata` and `sha256`, a digest of it and of the tensors' names,
    dtypes and bytes, as JSON. safetensors orders several keys at random; with one, equal content gives equal files.
    """
    header = json.dumps({**metadata, "sha256": _digest(tensors, metadata)}, sort_keys=True)
    return save(dict(tensors), {"ae_jax": header})


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read and verify the tensors and the metadata that `write_tensors` wrote.

    Raises:
      DamagedFileError: the digest does not match, or the file was not written by `write_tensors`.
      OSError: the file cannot be opened.
    """
    check_regular_file(path)  # raises a complete OSError; safe_open's has neither errno nor file name
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            metadata = json.loads((file.metadata() or {}).get("ae_jax", "{}"))
        _check_nesting(metadata)
        given = metadata.pop("sha256", None) if isinstance(metadata, dict) else None
        digest = given and _digest(tensors, metadata)
    except Exception as error:  # safetensors, json and NumPy raise many types for malformed files
        raise DamagedFileError(f"{path} is corrupt: {error}.") from error
    if not given:
        raise DamagedFileError(f"{path} is corrupt or was not written by ae_jax: it has no digest of its content.")
    if given != digest:
        raise DamagedFileError(f"{path} is corrupt: its content does not match its digest.")
    return tensors, metadata


def _check_nesting(metadata: Any) -> None:
    """Raise `ValueError` for metadata that json could read here, but not write where the stack is deeper."""
    level = [metadata]
    for _ in range(_MAX_NESTING):
        children = [
            each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)
        ]
        level = list(itertools.chain.from_iterable(children))
    if level:
        raise ValueError("its metadata are nested too deeply")


def _digest(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    shapes = {name: [str(tensors[name].dtype), tensors[name].shape] for name in sorted(tensors)}
    digest = hashlib.sha256(json.dumps([shapes, dict(metadata)], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
