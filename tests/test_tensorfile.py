"""Files of arrays: every corruption is detected, and a failing disk costs nothing that was there."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ae_jax.errors import CorruptFileError
from ae_jax.system import write_atomic
from ae_jax.tensorfile import read_tensors, tensor_bytes

TENSORS = {"weights": np.arange(6, dtype=np.float32), "step": np.array(3)}


def test_arrays_and_metadata_are_read_back_and_equal_content_gives_equal_files(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file.safetensors", tensor_bytes(TENSORS, {"note": ["x", 1.5, None]}))
    tensors, metadata = read_tensors(tmp_path / "file.safetensors")
    assert metadata == {"note": ["x", 1.5, None]}
    assert {name: (x.dtype, x.tolist()) for name, x in tensors.items()} == {
        name: (x.dtype, x.tolist()) for name, x in TENSORS.items()
    }
    assert (tmp_path / "file.safetensors").read_bytes() == tensor_bytes(tensors, metadata)


def test_a_flip_in_any_byte_and_every_truncation_is_detected(tmp_path: Path) -> None:
    path, content = tmp_path / "corrupt.safetensors", tensor_bytes(TENSORS, {"note": "x"})
    flips = (content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :] for i in range(len(content)))
    for corrupt in (*flips, *(content[:length] for length in range(len(content)))):
        path.write_bytes(corrupt)
        with pytest.raises(
            CorruptFileError, match=r"corrupt\.safetensors (cannot be read: .*|is corrupt.*)\.$"
        ) as error:
            read_tensors(path)
        assert "\n" not in str(error.value)


def test_a_file_of_another_program_and_a_missing_one_are_errors_that_say_so(tmp_path: Path) -> None:
    save_file({"x": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CorruptFileError, match="was not written by ae_jax"):
        read_tensors(tmp_path / "other.safetensors")
    with pytest.raises(CorruptFileError, match=r"none cannot be read: No such file"):
        read_tensors(tmp_path / "none")
