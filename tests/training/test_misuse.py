"""Frequent mistakes: each gets one sentence that names the cause and the cure."""

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax

LINEAR, CONV, KEY = ae_jax.LinearAutoencoder(), ae_jax.ConvAutoencoder(), jax.random.key(0)
PIXELS = np.zeros((4, 28, 28, 1), np.uint8)
FLOATS = jnp.zeros((4, 28, 28, 1))
STATE = ae_jax.create_train_state(LINEAR, KEY)


class Flat(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        return nn.Dense(784)(images.reshape(-1, 784))


class Pair(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        return nn.Dense(1)(images), images


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        return nn.BatchNorm(use_running_average=False)(images)


class Noisy(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        return nn.Dropout(0.5, deterministic=False)(images)


def train(model: nn.Module) -> None:
    ae_jax.train_step(ae_jax.create_train_state(model, KEY), FLOATS)


def step_of(loss: Callable[..., Any]) -> None:
    ae_jax.make_train_step(loss)(STATE, FLOATS, key=KEY)


def one_per_image(model: Any, params: Any, images: jax.Array) -> jax.Array:
    return images.mean((1, 2, 3))


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "parameters of another model": (
        lambda: ae_jax.create_train_state(CONV, KEY, params=STATE.params),
        "params['decoder_0']['bias'] is (12,), and (32,) in ConvAutoencoder; give params of this model",
    ),
    "an integer as key": (
        lambda: ae_jax.create_train_state(LINEAR, 0),
        "key must be a random key, such as jax.random.key(0), not 0",
    ),
    "an integer as the key of an epoch": (lambda: ae_jax.train_epoch(STATE, PIXELS, 0), "key must be a random key"),
    "a key in place of weights": (
        lambda: ae_jax.train_step(STATE, FLOATS, KEY),
        "weights must be f32[4], one per example, not key<fry>[]; a random key is `key`",
    ),
    "a loss with a parameter key": (
        lambda: step_of(lambda model, params, images, key: one_per_image(model, params, images)),
        "loss_fn has a parameter named key; beside (model, params, batch) there are only keys",
    ),
    "a loss that returns integers": (
        lambda: step_of(lambda model, params, images: jnp.zeros(4, jnp.int32)),
        "loss_fn must return floats, not int32, which has no gradient",
    ),
    "a term named loss": (
        lambda: step_of(lambda *args: (one_per_image(*args), {"loss": one_per_image(*args)})),
        "loss_fn reports a term named loss, which is the name of the loss itself; rename it",
    ),
    "a term that is a mean": (
        lambda: step_of(lambda *args: (one_per_image(*args), {"kl": one_per_image(*args).mean()})),
        "kl must have one value per example, f32[4], not f32[]",
    ),
    "a loss that returns a list": (
        lambda: step_of(lambda *args: [one_per_image(*args), {}]),
        "loss_fn must return f32[batch] or (f32[batch], {name: f32[batch]}), not [",
    ),
    "no steps": (lambda: ae_jax.train_epoch(STATE, PIXELS, KEY, num_steps=0), "num_steps must be at least 1, not 0"),
    "a model that returns a pair": (
        lambda: train(Pair()),
        "the model returns a tuple, not images; write a loss that takes it",
    ),
    "a model that returns flat images": (
        lambda: train(Flat()),
        "the model must return arrays of the shape of its images, (4, 28, 28, 1), not (4, 784)",
    ),
    "labels for a loss of images": (
        lambda: ae_jax.train_epoch(STATE, (PIXELS, np.zeros(4, np.int32)), KEY),
        "the batch must be images alone, not a tuple; write a loss that takes it",
    ),
    "a Dataset in place of its images": (
        lambda: ae_jax.train_epoch(STATE, ae_jax.Dataset("own", PIXELS, None), KEY),
        "the batch must be images alone, not a Dataset; pass its images",
    ),
    "an optax optimizer by name": (
        lambda: ae_jax.create_train_state(LINEAR, KEY, optimizer=optax.adam(1e-3)),
        "choose ('adam', 'muon'), or pass one of optax's as the argument tx",
    ),
    "an optimizer with settings": (
        lambda: ae_jax.create_train_state(LINEAR, KEY, tx=optax.sgd(0.1), learning_rate=1e-2),
        "tx is an optimizer with settings of its own; leave out learning_rate, or tx",
    ),
    "an empty batch": (lambda: ae_jax.train_step(STATE, FLOATS[:0]), "the batch is empty"),
    "a fractional batch size": (
        lambda: ae_jax.train_epoch(STATE, PIXELS, KEY, batch_size=2.5),
        "batch_size must be an integer of at least 1, not 2.5",
    ),
    "a module with other variables": (
        lambda: train(Normalised()),
        "Normalised has the collections batch_stats beside params; see docs/research.md for modules with BatchNorm",
    ),
    "a module that needs random numbers": (
        lambda: train(Noisy()),
        "Noisy needs random numbers to be applied; see docs/research.md for modules with BatchNorm or Dropout",
    ),
    "a loss of logits for a model without": (
        lambda: ae_jax.make_train_step(ae_jax.cross_entropy_loss)(ae_jax.create_train_state(Flat(), KEY), FLOATS),
        "cross_entropy_loss needs logits; give Flat a method `logits(images)`",
    ),
    "three numbers of channels": (
        lambda: ae_jax.create_train_state(ae_jax.ConvAutoencoder(hidden=(8, 16, 32)), KEY),
        "hidden must be the channels of two layers, not (8, 16, 32)",
    ),
    "an unknown activation": (
        lambda: ae_jax.create_train_state(ae_jax.LinearAutoencoder(activation="gelu"), KEY),
        "unknown activation 'gelu'; choose ('relu', 'tanh')",
    ),
    "an unknown loss": (lambda: ae_jax.denoising_loss(0.1, "bce"), "unknown loss 'bce'; choose"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_frequent_mistake_is_named_with_its_cure(name: str) -> None:
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
