import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.data.batching import ResidentBatches, batch_sizes
from ae_jax.parallel.mesh import make_mesh
from ae_jax.parallel.sharded_steps import make_sharded_steps
from ae_jax.parallel.sharding import replicate
from tests.support.devices import needs_devices


@pytest.fixture(scope="module")
def state() -> ae_jax.TrainState:
    return ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))


def noise_of(model: object, params: object, images: jax.Array, keys: jax.Array) -> jax.Array:
    """A stochastic loss: pure Gaussian noise, independent of model and images."""
    return jax.vmap(jax.random.normal)(keys)


def test_added_noise_is_gaussian_with_the_given_std_and_clipped() -> None:
    grey = jnp.full((400, 28, 28, 1), 0.5)
    noisy = ae_jax.add_noise(grey, jax.random.split(jax.random.key(0), 400), 0.1)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=1e-3)
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.01)
    assert not np.array_equal(noisy[0], noisy[1])
    loud = ae_jax.add_noise(grey, jax.random.split(jax.random.key(0), 400), 10.0)
    assert (float(loud.min()), float(loud.max())) == (0, 1)


def test_denoising_loss_matches_its_definition_with_and_without_noise(
    state: ae_jax.TrainState, digits: np.ndarray
) -> None:
    images, keys = ae_jax.normalise(digits[:20]), jax.random.split(jax.random.key(0), 20)
    noiseless = ae_jax.denoising_loss(0.0)(state.model, state.params, images, keys)
    np.testing.assert_array_equal(noiseless, ae_jax.reconstruction_loss(state.model, state.params, images))
    noisy = ae_jax.denoising_loss(0.3)(state.model, state.params, images, keys)
    seen = ae_jax.add_noise(images, keys, 0.3)
    recons = state.model.apply({"params": state.params}, seen)
    np.testing.assert_allclose(noisy, jnp.mean((recons - images) ** 2, axis=(1, 2, 3)), rtol=1e-6)  # fused or not


def test_stochastic_loss_without_a_key_raises_an_error(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    images = ae_jax.normalise(digits[:20])
    for call in (ae_jax.make_train_step(noise_of), functools.partial(ae_jax.eval_step, loss_fn=noise_of)):
        with pytest.raises(ValueError, match="pass a key"):
            call(state, images)


def test_stochastic_loss_gets_a_distinct_key_per_image_and_step(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    images, key = ae_jax.normalise(digits[:20]), jax.random.key(1)

    def loss(step: int) -> float:
        later = state.replace(step=jnp.int32(step))
        return float(ae_jax.eval_step(later, images, loss_fn=noise_of, key=key)["loss"])

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)
    many = [loss(step) for step in range(200)]  # means of 20 independent normal numbers
    assert np.std(many) == pytest.approx(20**-0.5, rel=0.15)  # three standard errors; equal keys would give 1


def test_denoising_training_is_determined_by_the_key(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    loss_fn = ae_jax.denoising_loss(0.3)
    results = [ae_jax.train_epoch(state, digits, jax.random.key(2), 64, loss_fn=loss_fn)[0] for _ in range(2)]
    assert jax.tree.all(jax.tree.map(np.array_equal, results[0].params, results[1].params))
    other, _ = ae_jax.train_epoch(state, digits, jax.random.key(3), 64, loss_fn=loss_fn)
    assert not np.array_equal(other.params["encoder_0"]["kernel"], results[0].params["encoder_0"]["kernel"])


def test_denoising_losses_agree_on_one_and_three_devices(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    needs_devices(3)
    losses = []
    for num_devices in (1, 3):  # 64 images are no multiple of 3
        mesh = make_mesh(num_devices, batch_size=64, images_per_core=None)
        steps = make_sharded_steps(mesh, 64, ae_jax.denoising_loss(0.5))
        start = replicate(mesh, (state, np.zeros(len(batch_sizes(300, 64)), np.float32)))
        start = jax.tree.map(jnp.copy, start)  # the steps donate it
        batches = replicate(mesh, ResidentBatches(digits, np.arange(300)))
        losses.append(np.asarray(steps(*start, batches, 0, 5, replicate(mesh, jax.random.key(4)))[1]))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)  # another order of sums
