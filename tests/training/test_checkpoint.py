import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.runs.checkpoints import load_progress
from ae_jax.runs.metadata import resumed_config
from ae_jax.system.tensorfile import write_tensors
from ae_jax.training.checkpoint import checkpoint_info
from tests.conftest import ROOT
from tests.support.tiny_run import OneKernel, begin, train

OLD = ROOT / "tests" / "golden" / "checkpoint.safetensors"


def test_training_resumes_from_a_checkpoint_bit_for_bit(tmp_path: Path, digits: np.ndarray) -> None:
    start = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), learning_rate=2e-3)
    state, _ = ae_jax.train_epoch(start, digits, jax.random.key(1))
    ae_jax.save_checkpoint(tmp_path / "state.safetensors", state)
    fresh = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(9))
    loaded = ae_jax.load_checkpoint(tmp_path / "state.safetensors", fresh)
    expected, _ = ae_jax.train_epoch(state, digits, jax.random.key(2))
    actual, _ = ae_jax.train_epoch(loaded, digits, jax.random.key(2))
    assert jax.tree.all(jax.tree.map(np.array_equal, expected, actual))


def test_checkpoint_of_another_model_is_rejected(tmp_path: Path) -> None:
    ae_jax.save_checkpoint(
        tmp_path / "state.safetensors", ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    )
    conv = ae_jax.create_train_state(ae_jax.ConvAutoencoder(), jax.random.key(0))
    with pytest.raises(ValueError, match="another model"):
        ae_jax.load_checkpoint(tmp_path / "state.safetensors", conv)


def test_stored_checkpoint_of_the_first_version_still_loads_and_resumes() -> None:
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)  # other versions round differently
    program, fresh = begin()
    assert ae_jax.load_checkpoint(OLD, fresh.state).step == 8
    program = dataclasses.replace(program, shuffle_key=jax.random.key(9))
    program, progress = load_progress(OLD, checkpoint_info(OLD), program, fresh.state)
    assert resumed_config(checkpoint_info(OLD)["record"], {}, TrainConfig) == TrainConfig(batch_size=4, epochs=3)
    assert progress.step == 8
    assert [(metrics.epoch, metrics.step, metrics.test_loss) for metrics in progress.history] == [(1, 5, 0.25)]
    _, expected = train(*begin(), num_steps=8)
    for actual, own in ((progress.state, expected.state), (progress.losses, expected.losses)):
        jax.tree.map(close, actual, own)
    _, expected = train(*begin(), num_steps=15)
    _, progress = train(program, progress, num_steps=15)
    jax.tree.map(close, progress.state, expected.state)


def test_unknown_checkpoint_format_and_missing_file_raise_clear_errors(tmp_path: Path) -> None:
    write_tensors(tmp_path / "new.safetensors", {"step": np.zeros(1)}, {"format": "ae_jax/2"})
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    with pytest.raises(ae_jax.InputError, match=r"has the format ae_jax/2, not ae_jax/1; a newer version"):
        ae_jax.load_checkpoint(tmp_path / "new.safetensors", state)
    with pytest.raises(ae_jax.InputError, match=r"none\.safetensors does not exist"):
        ae_jax.load_checkpoint(tmp_path / "none.safetensors", state)


def test_random_keys_in_the_state_are_saved(tmp_path: Path) -> None:
    tx = optax.add_noise(0.1, 0.5, jax.random.key(3))
    state = ae_jax.create_train_state(OneKernel(), jax.random.key(0), tx=tx)
    ae_jax.save_checkpoint(tmp_path / "state.safetensors", state)
    fresh = ae_jax.create_train_state(OneKernel(), jax.random.key(1), tx=optax.add_noise(0.1, 0.5, jax.random.key(4)))
    loaded = ae_jax.load_checkpoint(tmp_path / "state.safetensors", fresh)
    assert loaded.opt_state.rng_key == state.opt_state.rng_key
