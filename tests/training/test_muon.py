import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.training.adam import scale_by_adam
from ae_jax.training.muon import scale_by_muon


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def last_update(tx: optax.GradientTransformation, gradients: list[jax.Array]) -> np.ndarray:
    state = tx.init(gradients[0])
    for gradient in gradients:
        update, state = jax.jit(tx.update)(gradient, state, gradients[0])
    return np.asarray(update)


@pytest.mark.parametrize("shape", [(144, 32), (12, 64)])
def test_a_matrix_is_orthogonalised_as_by_optax(shape: tuple[int, int]) -> None:
    transformations = scale_by_muon(0.9, 0.95), optax.contrib.scale_by_muon(ns_steps=3, beta=0.9)
    updates = [last_update(tx, [normal(*shape)]) for tx in transformations]
    own, reference = (update / np.linalg.norm(update) for update in updates)
    np.testing.assert_allclose(own, reference, atol=1e-5 * np.abs(reference).max())


def test_the_momentum_is_nesterovs() -> None:
    first, second = normal(9, 16), normal(9, 16, seed=1)
    tx = scale_by_muon(0.9, 0.95)
    expected = last_update(tx, [second + 0.9 * (second + 0.9 * first)])
    np.testing.assert_allclose(last_update(tx, [first, second]), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (7, 7, 32, 64), (64, 12)])
def test_an_update_is_almost_orthogonal_and_as_large_as_those_of_adam(shape: tuple[int, ...]) -> None:
    update = last_update(scale_by_muon(0.9, 0.95), [1e-4 * normal(*shape)]).reshape(-1, shape[-1])
    values = np.linalg.svd(update, compute_uv=False) / (0.2 * max(update.shape) ** 0.5)
    assert 0.6 < values.min() < values.max() < 1.2
    assert 0.1 < np.sqrt(np.mean(update**2)) < 0.3


def test_biases_and_large_kernels_have_the_updates_of_adam() -> None:
    params = {"kernel": normal(784, 128), "bias": normal(128), "small": normal(128, 64)}
    (own, adam) = (tx.update(params, tx.init(params))[0] for tx in (scale_by_muon(0.9, 0.95), scale_by_adam(0.9, 0.95)))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(own[name], adam[name])
    assert np.abs(own["small"] - adam["small"]).max() > 0.1


def test_a_gradient_of_zero_leaves_the_kernel_as_it_is() -> None:
    assert not last_update(scale_by_muon(0.9, 0.95), [jnp.zeros((9, 16))]).any()


def test_states_with_equal_settings_share_an_optimizer(unchecked: None) -> None:
    model = ae_jax.LinearAutoencoder()
    states = [
        ae_jax.create_train_state(model, jax.random.key(0), optimizer="muon", learning_rate=rate) for rate in (1e-3, 1)
    ]
    assert states[0].tx is states[1].tx
    with pytest.raises(ValueError, match="unknown optimizer 'sgd'"):
        ae_jax.create_train_state(model, jax.random.key(0), optimizer="sgd")
