from pathlib import Path

import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.tensorfile import DamagedFileError, read_tensors, write_tensors


def test_training_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path, digits: np.ndarray) -> None:
    start = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), learning_rate=2e-3)
    state, _ = ae_jax.train_epoch(start, digits, jax.random.key(1))
    ae_jax.save_checkpoint(tmp_path / "state.safetensors", state)
    fresh = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(9))
    loaded = ae_jax.load_checkpoint(tmp_path / "state.safetensors", fresh)
    expected, _ = ae_jax.train_epoch(state, digits, jax.random.key(2))
    actual, _ = ae_jax.train_epoch(loaded, digits, jax.random.key(2))
    assert jax.tree.all(jax.tree.map(np.array_equal, expected, actual))


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    ae_jax.save_checkpoint(
        tmp_path / "state.safetensors", ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    )
    conv = ae_jax.create_train_state(ae_jax.ConvAutoencoder(), jax.random.key(0))
    with pytest.raises(ValueError, match="another model"):
        ae_jax.load_checkpoint(tmp_path / "state.safetensors", conv)


def test_no_single_flipped_bit_and_no_truncation_is_loaded(tmp_path: Path) -> None:
    path, damaged = tmp_path / "sound.safetensors", tmp_path / "damaged.safetensors"
    write_tensors(path, {"weights": np.arange(6, dtype=np.float32), "step": np.array(3)}, {"note": "x"})
    content = path.read_bytes()
    for i in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[i // 8] ^= 1 << i % 8
        damaged.write_bytes(flipped)
        with pytest.raises(DamagedFileError, match=r"damaged\.safetensors is damaged"):
            read_tensors(damaged)
    for length in range(len(content)):
        damaged.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match=r"damaged\.safetensors is damaged"):
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
