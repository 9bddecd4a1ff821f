from pathlib import Path

import jax
import numpy as np
import pytest

import ae_jax


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
