"""Stochastic losses and their keys."""

import copy
import functools
import gc
import weakref
from collections.abc import Callable

import jax
import jax.export
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax


@pytest.fixture(scope="module")
def state() -> ae_jax.TrainState:
    return ae_jax.create_train_state(ae_jax.LinearAutoencoder(hidden=(8,)), jax.random.key(0))


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


@pytest.mark.parametrize(("output", "slope"), [("sigmoid", 1), ("tanh", 2)])  # (tanh(y) + 1) / 2 = sigmoid(2y)
def test_cross_entropy_and_its_gradient_agree_with_float64_for_any_logit(
    output: str, slope: int, digits: np.ndarray
) -> None:
    model, zeros = ae_jax.LinearAutoencoder(hidden=(), latent_dim=1, output=output), jnp.zeros
    biases = np.append(np.linspace(-30, 30, 779), [0, 100, -100, 200, -200]).astype(np.float32)
    encoder, kernel = {"kernel": zeros((784, 1)), "bias": zeros(1)}, zeros((1, 784))

    def loss(bias: jax.Array, images: jax.Array) -> jax.Array:
        params = {"encoder_0": encoder, "decoder_0": {"kernel": kernel, "bias": bias}}
        return ae_jax.cross_entropy_loss(model, params, images)[0]

    z, digit = slope * biases.astype(np.float64), np.asarray(ae_jax.to_float(digits[:1])).ravel()
    for pixels in (np.zeros_like(digit), np.ones_like(digit), digit):
        value, gradient = jax.value_and_grad(loss)(biases, pixels.reshape(1, 28, 28, 1))
        x, tail = pixels.astype(np.float64), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z)))
        np.testing.assert_allclose(value, np.mean(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - x * z), rtol=1e-6)
        expected = slope * np.where(z > 0, (1 - x) - tail, tail - x) / 784
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
        assert np.all((gradient != 0) | (np.abs(z) > 80) | (expected == 0))


def test_denoising_by_cross_entropy_compares_with_clean_images(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    images, keys = ae_jax.to_float(digits[:20]), jax.random.split(jax.random.key(0), 20)
    noisy = ae_jax.denoising_loss(0.3, "cross-entropy")(state.model, state.params, images, keys)
    inputs = ae_jax.add_noise(images, keys, 0.3)
    recons = np.asarray(state.model.apply({"params": state.params}, inputs), np.float64)
    expected = -(images * np.log(recons) + (1 - images) * np.log1p(-recons)).mean((1, 2, 3))
    np.testing.assert_allclose(noisy, expected, rtol=1e-5)


@pytest.fixture
def small_heap() -> None:
    """Garbage is looked for among what the test makes: all that earlier tests have left takes seconds each time."""
    gc.freeze()


@pytest.mark.usefixtures("small_heap")
def test_a_loss_and_what_it_holds_are_freed_with_its_last_reference(
    state: ae_jax.TrainState, digits: np.ndarray
) -> None:
    images = ae_jax.to_float(digits[:8])

    def make() -> weakref.ref:
        scale = jnp.float32(2)

        def loss(model: object, params: object, images: jax.Array) -> jax.Array:
            return scale * ae_jax.reconstruction_loss(model, params, images)

        ae_jax.make_train_step(loss)(state, images)
        assert ae_jax.make_train_step(loss) is ae_jax.make_train_step(loss)
        ae_jax.train_epoch(state, digits[:8], jax.random.key(0), loss_fn=loss)
        return weakref.ref(loss)

    loss = make()
    gc.collect()
    assert loss() is None


@pytest.mark.usefixtures("small_heap")
def test_a_loss_may_close_over_a_tracer(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    images = ae_jax.to_float(digits[:8])

    @jax.jit
    def loss_after_a_step(scale: jax.Array) -> jax.Array:
        def loss(model: object, params: object, images: jax.Array) -> jax.Array:
            return scale * ae_jax.reconstruction_loss(model, params, images)

        return ae_jax.make_train_step(loss)(state, images)[1]["loss"]

    with jax.checking_leaks():
        assert float(loss_after_a_step(2.0)) == pytest.approx(2 * float(loss_after_a_step(1.0)))


def test_methods_of_two_objects_are_two_losses(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    class Scaled:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        def loss(self, model: object, params: object, images: jax.Array) -> jax.Array:
            return self.scale * ae_jax.reconstruction_loss(model, params, images)

    images, (one, three) = ae_jax.to_float(digits[:8]), (Scaled(1.0), Scaled(3.0))
    losses = [float(ae_jax.make_train_step(each.loss)(state, images)[1]["loss"]) for each in (one, three)]
    assert losses[1] == pytest.approx(3 * losses[0])
    assert ae_jax.make_train_step(one.loss) is ae_jax.make_train_step(one.loss)


@pytest.mark.usefixtures("unchecked")
def test_a_step_is_exported_with_a_symbolic_batch(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    (n,) = jax.export.symbolic_shape("n")
    specs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    exported = jax.export.export(ae_jax.train_step)(specs, jax.ShapeDtypeStruct((n, 28, 28, 1), jnp.float32))
    for size in (3, 8):
        images = ae_jax.to_float(digits[:size])
        loss = float(ae_jax.train_step(state, images)[1]["loss"])
        assert float(exported.call(state, images)[1]["loss"]) == pytest.approx(loss, rel=1e-5)


def scaled(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    @functools.wraps(loss)
    def wrapper(*args: object) -> jax.Array:
        return 3 * loss(*args)

    return wrapper


def test_what_copies_the_attributes_of_a_loss_is_another_loss(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    images = ae_jax.to_float(digits[:8])

    class Scaled:
        scale = 1.0

        def __call__(self, *args: object) -> jax.Array:
            return self.scale * ae_jax.reconstruction_loss(*args)

    def value(loss: Callable[..., jax.Array]) -> float:
        return float(ae_jax.eval_step(state, images, loss_fn=loss)["loss"])

    one = Scaled()
    base = value(ae_jax.reconstruction_loss)
    assert value(one) == pytest.approx(base)
    three = copy.copy(one)
    three.scale = 3.0
    for other in (scaled(ae_jax.reconstruction_loss), three, copy.deepcopy(three)):
        assert value(other) == pytest.approx(3 * base)
    assert ae_jax.make_train_step(scaled(ae_jax.reconstruction_loss)) is not ae_jax.train_step


def test_what_a_partial_binds_stays_and_keys_may_have_a_default(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    images = ae_jax.to_float(digits[:8])

    def loss(
        model: object, params: object, images: jax.Array, step: jax.Array, keys: jax.Array | None = None
    ) -> object:
        return jnp.full(len(images), 1.0 if keys is None else 2.0) * step

    bound = functools.partial(loss, step=7.0)
    assert float(ae_jax.eval_step(state, images, loss_fn=bound)["loss"]) == 7
    assert float(ae_jax.eval_step(state, images, loss_fn=bound, key=jax.random.key(0))["loss"]) == 14
    assert float(ae_jax.eval_step(state, images, loss_fn=loss)["loss"]) == 0
