"""Checkpoints of a train state, as from a user's own training loop."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import ae_jax
from ae_jax.system import write_atomic
from ae_jax.tensorfile import tensor_bytes


@pytest.fixture(scope="module")
def state() -> ae_jax.TrainState:
    return ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), learning_rate=2e-3)


def test_training_resumes_from_a_checkpoint_bit_for_bit(
    state: ae_jax.TrainState, tmp_path: Path, training_digits: np.ndarray
) -> None:
    state, _ = ae_jax.train_epoch(state, training_digits, jax.random.key(1))
    ae_jax.save_checkpoint(tmp_path / "state.safetensors", state)
    fresh = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(9))
    loaded = ae_jax.load_checkpoint(tmp_path / "state.safetensors", fresh)
    expected, _ = ae_jax.train_epoch(state, training_digits, jax.random.key(2))
    actual, _ = ae_jax.train_epoch(loaded, training_digits, jax.random.key(2))
    assert jax.tree.all(jax.tree.map(np.array_equal, expected, actual))


def test_what_is_no_checkpoint_of_the_same_model_and_optimizer_is_rejected(
    state: ae_jax.TrainState, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    ae_jax.save_checkpoint(path, state)
    model, key = ae_jax.LinearAutoencoder(), jax.random.key(0)
    for other in (
        ae_jax.create_train_state(ae_jax.LinearAutoencoder(latent_dim=2), key),
        ae_jax.create_train_state(model, key, tx=optax.sgd(0.1)),
    ):
        with pytest.raises(ValueError, match=r"state\.safetensors holds the state of another model or optimizer"):
            ae_jax.load_checkpoint(path, other)
    with pytest.raises(ae_jax.CorruptFileError, match=r"none\.safetensors cannot be read: No such file"):
        ae_jax.load_checkpoint(tmp_path / "none.safetensors", state)
    write_atomic(path, tensor_bytes({"step": np.zeros(1)}, {"format": "ae_jax/99"}))
    with pytest.raises(ae_jax.InputError, match=r"state\.safetensors is no checkpoint of this version of ae_jax"):
        ae_jax.load_checkpoint(path, state)


def test_random_keys_in_the_state_are_saved(tmp_path: Path) -> None:
    states = [
        ae_jax.create_train_state(
            ae_jax.LinearAutoencoder(), jax.random.key(0), tx=optax.add_noise(0.1, 0.5, jax.random.key(seed))
        )
        for seed in (3, 4)
    ]
    ae_jax.save_checkpoint(tmp_path / "state.safetensors", states[0])
    loaded = ae_jax.load_checkpoint(tmp_path / "state.safetensors", states[1])
    assert loaded.opt_state.rng_key == states[0].opt_state.rng_key != states[1].opt_state.rng_key


def test_transposed_arrays_and_python_numbers_are_saved_as_they_are(tmp_path: Path) -> None:
    params = {"transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T, "number": 0.5}
    state = ae_jax.create_train_state(None, jax.random.key(0), params=params)
    ae_jax.save_checkpoint(tmp_path / "state.safetensors", state)
    loaded = ae_jax.load_checkpoint(tmp_path / "state.safetensors", state)
    np.testing.assert_array_equal(loaded.params["transposed"], params["transposed"])
    assert float(loaded.params["number"]) == 0.5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_leaves_of_any_dtype_are_saved_bit_for_bit(dtype: str, state: ae_jax.TrainState, tmp_path: Path) -> None:
    narrow = state.replace(params=jax.tree.map(lambda leaf: leaf.astype(dtype), state.params))
    ae_jax.save_checkpoint(tmp_path / "state.safetensors", narrow)
    loaded = ae_jax.load_checkpoint(tmp_path / "state.safetensors", narrow)
    for before, after in zip(jax.tree.leaves(narrow), jax.tree.leaves(loaded), strict=True):
        assert before.dtype == after.dtype
        assert np.asarray(before).tobytes() == np.asarray(after).tobytes()
