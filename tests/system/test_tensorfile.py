from pathlib import Path

import numpy as np
import pytest

from ae_jax.errors import DamagedFileError
from ae_jax.system.tensorfile import read_tensors, write_tensors


def test_every_bit_flip_and_every_truncation_is_detected(tmp_path: Path) -> None:
    path, corrupt = tmp_path / "valid.safetensors", tmp_path / "corrupt.safetensors"
    write_tensors(path, {"weights": np.arange(6, dtype=np.float32), "step": np.array(3)}, {"note": "x"})
    content = path.read_bytes()
    for i in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[i // 8] ^= 1 << i % 8
        corrupt.write_bytes(flipped)
        with pytest.raises(DamagedFileError, match=r"corrupt\.safetensors is corrupt"):
            read_tensors(corrupt)
    for length in range(len(content)):
        corrupt.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match=r"corrupt\.safetensors is corrupt"):
            read_tensors(corrupt)


def test_metadata_too_deep_to_be_written_again_are_corrupt(tmp_path: Path) -> None:
    for depth, is_valid in ((50, True), (200, False)):
        nested: list[object] = []
        for _ in range(depth):
            nested = [nested]
        write_tensors(tmp_path / "nested.safetensors", {"x": np.zeros(1)}, {"nested": nested})
        if is_valid:
            assert read_tensors(tmp_path / "nested.safetensors")[1] == {"nested": nested}
        else:
            with pytest.raises(DamagedFileError, match="its metadata are nested too deeply"):
                read_tensors(tmp_path / "nested.safetensors")


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs the file size limits of Unix")
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
