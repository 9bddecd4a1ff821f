"""Derivatives through training, against central differences.

Adam's update of a parameter is close to the sign of its gradient, so that a difference quotient is the derivative only
if it moves no gradient across 0. Initial parameters and images are moved in float64, in a model of the tests' own.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax

SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "muon": {"optimizer": "muon"},
    "l2": {"weight_decay_mode": "l2", "weight_decay": 1e-4},
}
MODELS = {
    "linear": ae_jax.LinearAutoencoder(hidden=(32,), activation="tanh"),  # no ReLU that flips
    "conv": ae_jax.ConvAutoencoder(hidden=(4, 8), latent_dim=5, activation="tanh"),
}
KEY = jax.random.key(0)


def with_black_border(n: int) -> jax.Array:
    """Images whose outer pixels are always 0, as MNIST's: the second moments of their weights stay 0."""
    return jnp.pad(jax.random.uniform(jax.random.key(5), (n, 20, 20, 1)), ((0, 0), (4, 4), (4, 4), (0, 0)))


@pytest.mark.parametrize(
    ("name", "settings", "num_steps"),
    [("linear", "adam", 20), ("linear", "muon", 20), ("conv", "adam", 2)],
)
def test_the_gradient_with_respect_to_the_learning_rate(name: str, settings: str, num_steps: int) -> None:
    model, images = MODELS[name], with_black_border(16)
    params = ae_jax.create_train_state(model, KEY).params

    def loss_after(rate: jax.Array) -> jax.Array:
        state = ae_jax.create_train_state(model, KEY, params=params, learning_rate=rate, **SETTINGS[settings])
        state, _ = ae_jax.fit(state, images, KEY, num_epochs=num_steps, batch_size=16)
        return ae_jax.eval_step(state, images)["loss"]

    value_and_grad, size = jax.jit(jax.value_and_grad(loss_after)), 1e-5
    reverse = float(value_and_grad(1e-3)[1])
    difference = float(value_and_grad(1e-3 + size)[0] - value_and_grad(1e-3 - size)[0]) / (2 * size)
    assert reverse == pytest.approx(difference, rel=1e-2)
    if name == "linear":  # of convolutions, the modes are compared in tests/models
        forward = jax.jit(lambda rate: jax.jvp(loss_after, (rate,), (1.0,))[1])(1e-3)
        assert reverse == pytest.approx(float(forward), rel=1e-3)


class Float64(nn.Module):
    """An autoencoder whose arithmetic is float64."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        for size in (4, 16):
            images = jnp.tanh(nn.Dense(size, dtype=jnp.float64, param_dtype=jnp.float64)(images))
        return images


@pytest.fixture
def float64() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.usefixtures("unchecked", "float64")
@pytest.mark.parametrize("settings", SETTINGS)
def test_the_gradients_with_respect_to_what_training_starts_from(settings: str) -> None:
    rng, model, options = np.random.default_rng(3), Float64(), {"weight_decay": 1e-3, **SETTINGS[settings]}
    pixels = jnp.asarray(rng.uniform(0, 1, (8, 16)) * (np.arange(16) >= 4))  # a quarter is always black
    start = ae_jax.create_train_state(model, KEY, inputs=pixels).params
    directions = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), (start, pixels))

    def loss_after(t: jax.Array) -> jax.Array:
        params = jax.tree.map(lambda x, v: x + t[0] * v, start, directions[0])
        images = pixels + t[1] * directions[1] * (pixels > 0)
        moved = options | {"weight_decay": options["weight_decay"] + t[2], "betas": (0.9 + t[3], 0.99 + t[4])}
        state = ae_jax.create_train_state(model, KEY, params=params, inputs=images, learning_rate=0.01, **moved)
        for _ in range(3):
            state, _ = ae_jax.make_train_step(squared_error)(state, images)
        return squared_error(model, state.params, images).mean()

    value_and_grad = jax.jit(jax.value_and_grad(loss_after))
    reverse, forward = value_and_grad(jnp.zeros(5))[1], jax.jit(jax.jacfwd(loss_after))(jnp.zeros(5))
    np.testing.assert_allclose(reverse, forward, rtol=1e-3, equal_nan=False)
    for i, size in enumerate((1e-6, 1e-6, 1e-4, 3e-3, 3e-3)):  # the settings of the optimizer are float32
        step = size * jnp.eye(5)[i]
        expected = float(value_and_grad(step)[0] - value_and_grad(-step)[0]) / (2 * size)
        assert abs(expected) > 1e-7, i
        assert float(reverse[i]) == pytest.approx(expected, rel=1e-2), i


def squared_error(model: nn.Module, params: Any, images: jax.Array) -> jax.Array:
    return jnp.square(model.apply({"params": params}, images) - images).mean(1)
