"""Arguments that could be misread are refused."""

import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax

pytestmark = pytest.mark.usefixtures("unchecked")
PIXELS = np.full((4, 28, 28, 1), 255, np.uint8)
MODEL = ae_jax.LinearAutoencoder()


@pytest.mark.parametrize("images", [PIXELS / np.float32(255), PIXELS.astype(np.int32)], ids=["float32", "int32"])
def test_what_divides_by_255_takes_nothing_but_uint8(images: np.ndarray) -> None:
    state, key = ae_jax.create_train_state(MODEL, jax.random.key(0)), jax.random.key(1)
    calls = [
        lambda: ae_jax.train_epoch(state, images, key),
        lambda: ae_jax.fit(key, images, model=MODEL),
        lambda: ae_jax.evaluate(state, images),
        lambda: next(ae_jax.batches(images)),
        lambda: ae_jax.normalise(images),
        lambda: ae_jax.pca_mse(images, PIXELS, 3),
        lambda: ae_jax.pca_mse(PIXELS, images, 3),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"images must be uint8, pixels from 0 to 255, got {images.dtype}"):
            call()


@pytest.mark.parametrize("shape", [(4, 1), (1,), (3,), ()])
def test_weights_are_one_per_image(shape: tuple[int, ...]) -> None:
    state, images = ae_jax.create_train_state(MODEL, jax.random.key(0)), jnp.ones(PIXELS.shape)
    with pytest.raises(ValueError, match=r"weights must be one per image, f32\[4\], not of shape"):
        ae_jax.train_step(state, images, jnp.ones(shape))


@pytest.mark.parametrize("model_class", [ae_jax.LinearAutoencoder, ae_jax.ConvAutoencoder, ae_jax.ConvPoolAutoencoder])
def test_an_unknown_output_activation_is_named(model_class: type[ae_jax.ConvAutoencoder]) -> None:
    with pytest.raises(ValueError, match=r"unknown output 'Sigmoid'; choose .*sigmoid.*tanh"):
        ae_jax.create_train_state(model_class(output="Sigmoid"), jax.random.key(0))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *(("learning_rate", {"learning_rate": rate}) for rate in (np.nan, -1e-3, np.inf)),
        ("weight_decay", {"weight_decay": jnp.float32(jnp.nan)}),
        ("betas[0]", {"betas": (1, 0.999)}),
        ("betas[1]", {"betas": (0.9, 0.99999999)}),
    ],
)
def test_optimizer_settings_must_be_in_their_range(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"{re.escape(name)} must be at least 0 and, as float32, below "):
        ae_jax.create_train_state(MODEL, jax.random.key(0), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"betas": (0.9, 0.99, 0.9)}, "betas must be two numbers"),
        ({"betas": 0.9}, "betas must be two numbers"),
        (
            {"learning_rate": lambda step: 1e-3},
            "learning_rate must be a number; a function of the step is",
        ),
    ],
)
def test_optimizer_settings_of_another_kind_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ae_jax.create_train_state(MODEL, jax.random.key(0), **settings)


def test_optimizer_settings_may_be_integers_but_not_arrays() -> None:
    integer, number = (ae_jax.create_train_state(MODEL, jax.random.key(0), learning_rate=rate) for rate in (1, 1.0))
    images = jnp.ones(PIXELS.shape)
    (after, _), (expected, _) = ae_jax.train_step(integer, images), ae_jax.train_step(number, images)
    jax.tree.map(np.testing.assert_array_equal, after.params, expected.params)
    with pytest.raises(ValueError, match=r"learning_rate must be one number, not an array of shape \(2,\)"):
        ae_jax.create_train_state(MODEL, jax.random.key(0), learning_rate=jnp.array([1e-3, 1e-2]))
