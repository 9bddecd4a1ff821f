"""Arrays in one safetensors file that any tool can read, written whole or not at all and never loaded damaged."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ae_jax.errors import DamagedFileError
from ae_jax.system.atomic import write_whole

Tensors: TypeAlias = dict[str, np.ndarray]


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write a file as `write_whole` does.

    The file's metadata holds, as JSON under `ae_jax`, `metadata` and as `sha256` a digest over it and the tensors'
    names, types and bytes: one key, because safetensors orders several at random, and equal content makes equal files.

    Raises:
      OSError: the folder cannot be written to; nothing is left behind.
    """
    header = json.dumps({**metadata, "sha256": _digest(tensors, metadata)}, sort_keys=True)
    write_whole(path, save(dict(tensors), {"ae_jax": header}))


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and the metadata that `write_tensors` was given.

    Raises:
      DamagedFileError: the digest does not match, or it is no such file.
      OSError: it cannot be opened.
    """
    path.open("rb").close()  # safe_open says of a missing file only that it is missing
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            metadata = json.loads((file.metadata() or {}).get("ae_jax", "{}"))
    except (SafetensorError, ValueError, TypeError) as error:
        raise DamagedFileError(f"{path} is damaged: {error}.") from error
    if not isinstance(metadata, dict) or "sha256" not in metadata:
        raise DamagedFileError(f"{path} is damaged, or not a file of ae_jax: it has no digest of its content.")
    digest = metadata.pop("sha256")
    if digest != _digest(tensors, metadata):
        raise DamagedFileError(f"{path} is damaged: its content does not match its digest.")
    return tensors, metadata


def _digest(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    shapes = {name: [str(tensors[name].dtype), tensors[name].shape] for name in sorted(tensors)}
    digest = hashlib.sha256(json.dumps([shapes, dict(metadata)], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
