"""Single steps: what they compute, what they leave alone, when they compile, and which arguments they refuse."""

import re
from collections.abc import Callable

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax
from ae_jax.metrics.pca import pca_mse
from tests.support.outcomes import largest_difference

MODEL = ae_jax.LinearAutoencoder()
PIXELS = np.full((4, 28, 28, 1), 255, np.uint8)


@pytest.fixture(scope="module")
def state() -> ae_jax.TrainState:
    return ae_jax.create_train_state(MODEL, jax.random.key(0))


def test_zero_weight_images_do_not_affect_the_step(digits: np.ndarray) -> None:
    state = ae_jax.create_train_state(MODEL, jax.random.key(0), tx=optax.sgd(1.0))
    images = ae_jax.to_float(digits[:10])
    short, short_metrics = ae_jax.train_step(state, images[:6])
    weights = (jnp.arange(10) < 6).astype(jnp.float32)
    filled, filled_metrics = ae_jax.train_step(state, images, weights)
    assert largest_difference(short.params, filled.params) <= 1e-6  # sums of 6 and of 10 rows
    assert abs(float(short_metrics["loss"] - filled_metrics["loss"])) <= 1e-7


def test_train_step_recompiles_only_for_another_model(state: ae_jax.TrainState) -> None:
    traces = []

    def loss(model: nn.Module, params: dict, images: jax.Array) -> jax.Array:
        traces.append(model)  # JAX traces a function once per compiled program
        return ae_jax.reconstruction_loss(model, params, images)

    step, images = ae_jax.make_train_step(loss), jnp.zeros((8, 28, 28, 1))
    state, _ = step(state, images)
    count = len(traces)
    step(state, images)  # its own result
    step(ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(5)), images)  # all of it is new
    step(ae_jax.create_train_state(MODEL, jax.random.key(0), learning_rate=1.0, weight_decay=0), images)
    ae_jax.make_train_step(loss)(state, images)
    assert len(traces) == count > 0
    assert ae_jax.make_train_step(ae_jax.reconstruction_loss) is ae_jax.train_step
    other = ae_jax.LinearAutoencoder(output="tanh")
    step(ae_jax.create_train_state(other, jax.random.key(0), params=state.params), images)
    assert len(traces) > count  # positive control: another model is another program


def test_train_step_is_pure_and_donates_nothing(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    images = ae_jax.to_float(digits[:8])
    first, second = ae_jax.train_step(state, images), ae_jax.train_step(state, images)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert (int(state.step), int(first[0].step)) == (0, 1)
    assert not any(leaf.is_deleted() for leaf in (*jax.tree.leaves(state), images))


def test_custom_loss_is_minimised(digits: np.ndarray) -> None:
    def absolute_code(model: nn.Module, params: dict, images: jax.Array) -> jax.Array:
        return jnp.abs(model.apply({"params": params}, images, method="encode")).sum(axis=1)

    step = ae_jax.make_train_step(absolute_code)
    state = ae_jax.create_train_state(MODEL, jax.random.key(0), learning_rate=1e-2)
    images = ae_jax.to_float(digits)
    before = ae_jax.eval_step(state, images, loss_fn=absolute_code)["loss"]
    for _ in range(20):
        state, _ = step(state, images)
    assert ae_jax.eval_step(state, images, loss_fn=absolute_code)["loss"] < before / 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("images", [PIXELS / np.float32(255), PIXELS.astype(np.int32)], ids=["float32", "int32"])
@pytest.mark.parametrize(
    "call",
    [
        ae_jax.to_float,
        lambda images: pca_mse(images, PIXELS, 3),
        lambda images: pca_mse(PIXELS, images, 3),
    ],
)
def test_what_divides_by_255_takes_nothing_but_uint8(call: Callable[[np.ndarray], object], images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=f"images must be uint8, pixels from 0 to 255, got {images.dtype}"):
        call(images)


@pytest.mark.usefixtures("unchecked")
def test_weights_and_losses_are_one_per_image(state: ae_jax.TrainState) -> None:
    images = jnp.ones(PIXELS.shape)
    for shape in ((4, 1), (1,), (3,), ()):
        with pytest.raises(ValueError, match=r"weights must be f32\[4\], one per example, not"):
            ae_jax.train_step(state, images, jnp.ones(shape))
    step = ae_jax.make_train_step(lambda *args: ae_jax.reconstruction_loss(*args).mean())
    with pytest.raises(ValueError, match=r"one value per example, f32\[4\], not f32\[\]"):
        step(state, images)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(({"learning_rate": x}, "learning_rate must be at least 0 and, as float32, below") for x in (np.nan, -1e-3)),
        ({"weight_decay": jnp.float32(jnp.inf)}, "weight_decay must be at least 0"),
        ({"betas": (1, 0.999)}, "betas[0] must be at least 0 and, as float32, below 1"),
        ({"betas": (0.9, 0.99999999)}, "betas[1] must be at least 0"),
        ({"betas": 0.9}, "betas must be two numbers"),
        ({"betas": (0.9, 0.99, 0.9)}, "betas must be two numbers"),
        ({"learning_rate": lambda step: 1e-3}, "learning_rate must be a number; a function of the step is"),
        ({"learning_rate": jnp.ones(2)}, "learning_rate must be one number, not an array of shape (2,)"),
        ({"weight_decay_mode": "none"}, "unknown weight_decay_mode 'none'"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'"),
    ],
)
def test_optimizer_settings_that_are_out_of_range_or_of_another_kind_are_named(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ae_jax.create_train_state(MODEL, jax.random.key(0), **settings)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("model_class", [ae_jax.LinearAutoencoder, ae_jax.ConvAutoencoder, ae_jax.ConvPoolAutoencoder])
def test_an_unknown_output_activation_is_named(model_class: type[ae_jax.ConvAutoencoder]) -> None:
    with pytest.raises(ValueError, match=r"unknown output 'Sigmoid'; choose .*sigmoid.*tanh"):
        ae_jax.create_train_state(model_class(output="Sigmoid"), jax.random.key(0))
