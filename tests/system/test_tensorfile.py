from pathlib import Path

import numpy as np
import pytest

from ae_jax.errors import DamagedFileError
from ae_jax.system.tensorfile import read_tensors, write_tensors


def test_no_single_flipped_bit_and_no_truncation_is_loaded(tmp_path: Path) -> None:
    path, damaged = tmp_path / "sound.safetensors", tmp_path / "damaged.safetensors"
    write_tensors(path, {"weights": np.arange(6, dtype=np.float32), "step": np.array(3)}, {"note": "x"})
    content = path.read_bytes()
    for i in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[i // 8] ^= 1 << i % 8
        damaged.write_bytes(flipped)
        with pytest.raises(DamagedFileError, match=r"damaged\.safetensors is corrupt"):
            read_tensors(damaged)
    for length in range(len(content)):
        damaged.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match=r"damaged\.safetensors is corrupt"):
            read_tensors(damaged)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits the size of files, which only Unix can")
    path = tmp_path / "arrays.safetensors"
    write_tensors(path, {"old": np.zeros(3)}, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_tensors(path, {"new": np.zeros(10_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(read_tensors(path)[0]) == ["old"]
    assert list(tmp_path.iterdir()) == [path]
