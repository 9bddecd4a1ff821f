"""Stochastic losses and their keys."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax


@pytest.fixture(scope="module")
def state() -> ae_jax.TrainState:
    return ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))


def noise(model: object, params: object, images: jax.Array, keys: jax.Array) -> jax.Array:
    """A stochastic loss: pure Gaussian noise, independent of model and images."""
    return jax.vmap(jax.random.normal)(keys)


def test_added_noise_is_gaussian_with_the_given_std_and_clipped() -> None:
    grey, keys = jnp.full((400, 28, 28, 1), 0.5), jax.random.split(jax.random.key(0), 400)
    noisy, loud = ae_jax.add_noise(grey, keys, 0.1), ae_jax.add_noise(grey, keys, 10.0)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=1e-3)
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.01)
    assert not np.array_equal(noisy[0], noisy[1])
    assert (float(loud.min()), float(loud.max())) == (0, 1)


def test_denoising_loss_compares_the_reconstruction_of_noisy_images_with_clean_ones(
    state: ae_jax.TrainState, digits: np.ndarray
) -> None:
    images, keys = ae_jax.to_float(digits[:20]), jax.random.split(jax.random.key(0), 20)
    noiseless = ae_jax.denoising_loss(0.0)(state.model, state.params, images, keys)
    np.testing.assert_array_equal(noiseless, ae_jax.reconstruction_loss(state.model, state.params, images))
    noisy = ae_jax.denoising_loss(0.3)(state.model, state.params, images, keys)
    recons = state.model.apply({"params": state.params}, ae_jax.add_noise(images, keys, 0.3))
    np.testing.assert_allclose(noisy, jnp.mean((recons - images) ** 2, axis=(1, 2, 3)), rtol=1e-6)  # fused or not


def test_stochastic_loss_without_a_key_raises_an_error(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    images = ae_jax.to_float(digits[:20])
    with pytest.raises(ValueError, match="pass a key"):
        ae_jax.make_train_step(noise)(state, images)
    with pytest.raises(ValueError, match="pass a key"):
        ae_jax.eval_step(state, images, loss_fn=noise)


def test_stochastic_loss_gets_a_distinct_key_per_image_and_step(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    images, key = ae_jax.to_float(digits[:20]), jax.random.key(1)

    def loss(step: int) -> float:
        later = state.replace(step=jnp.int32(step))
        return float(ae_jax.eval_step(later, images, loss_fn=noise, key=key)["loss"])

    many = [loss(step) for step in range(200)]  # means of 20 independent normal numbers
    assert loss(0) == many[0]
    assert np.std(many) == pytest.approx(20**-0.5, rel=0.15)  # three standard errors; equal keys would give 1


def test_denoising_training_is_determined_by_the_key(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    loss_fn = ae_jax.denoising_loss(0.3)
    (first, _), (again, _), (other, _) = (
        ae_jax.train_epoch(state, digits, jax.random.key(seed), loss_fn=loss_fn) for seed in (2, 2, 3)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(other.params["encoder_0"]["kernel"], first.params["encoder_0"]["kernel"])
