import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.training.optimizers import scale_by_adam, scale_by_muon
from tests.support.arrays import random_array, relative_difference


@pytest.mark.parametrize("betas", [(0.9, 0.999), (jnp.float32(0.9), jnp.float32(0.999)), (0.0, 0.5)])
def test_a_constant_gradient_gives_steps_of_length_1(betas: tuple) -> None:
    adam = scale_by_adam(*betas, eps=0.0)
    gradient = jnp.array([1.3, -0.2, 1e-3])
    state = adam.init(gradient)
    for _ in range(50):
        step, state = adam.update(gradient, state)
        np.testing.assert_allclose(step, [1, -1, 1], rtol=1e-6)


def test_moments_keep_the_dtype_of_the_parameters() -> None:
    model = ae_jax.LinearAutoencoder()
    state = ae_jax.create_train_state(model, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, jnp.bfloat16), state.params)
    state = ae_jax.create_train_state(model, jax.random.key(0), params=params)
    images, key = np.zeros((8, 28, 28, 1), np.uint8), jax.random.key(1)
    after, _ = jax.eval_shape(lambda state: ae_jax.train_epoch(state, images, key, 4), state)
    assert jax.tree.map(lambda leaf: leaf.dtype, after) == jax.tree.map(lambda leaf: leaf.dtype, state)


def last_update(tx: optax.GradientTransformation, gradients: list[jax.Array]) -> np.ndarray:
    state = tx.init(gradients[0])
    for gradient in gradients:
        update, state = jax.jit(tx.update)(gradient, state, gradients[0])
    return np.asarray(update)


@pytest.mark.parametrize("shape", [(144, 32), (12, 64)])
def test_a_matrix_is_orthogonalised_as_by_optax(shape: tuple[int, int]) -> None:
    transformations = scale_by_muon(0.9, 0.95), optax.contrib.scale_by_muon(ns_steps=3, beta=0.9)
    updates = [last_update(tx, [random_array(*shape)]) for tx in transformations]
    own, reference = (update / np.linalg.norm(update) for update in updates)
    assert relative_difference(own, reference) <= 1e-5  # of three iterations with the same polynomial in another form


def test_the_momentum_is_nesterovs() -> None:
    first, second = random_array(9, 16), random_array(9, 16, seed=1)
    tx = scale_by_muon(0.9, 0.95)
    expected = last_update(tx, [second + 0.9 * (second + 0.9 * first)])
    assert relative_difference(last_update(tx, [first, second]), expected) <= 1e-5


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (7, 7, 32, 64), (64, 12)])
def test_an_update_is_almost_orthogonal_and_as_large_as_those_of_adam(shape: tuple[int, ...]) -> None:
    update = last_update(scale_by_muon(0.9, 0.95), [1e-4 * random_array(*shape)]).reshape(-1, shape[-1])
    values = np.linalg.svd(update, compute_uv=False) / (0.2 * max(update.shape) ** 0.5)
    assert 0.6 < values.min() < values.max() < 1.2
    assert 0.1 < np.sqrt(np.mean(update**2)) < 0.3


def test_biases_and_large_kernels_have_the_updates_of_adam() -> None:
    params = {"kernel": random_array(784, 128), "bias": random_array(128), "small": random_array(128, 64)}
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
