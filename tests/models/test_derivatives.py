"""Derivatives of the convolutional models in every mode; each model is compiled once, for all of them."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax
from ae_jax.types import Params
from tests.support.arrays import relative_difference

MODELS = [ae_jax.ConvAutoencoder(latent_dim=5), ae_jax.ConvPoolAutoencoder(latent_dim=5)]


class Derivatives(NamedTuple):
    """Pairs, or more, of one derivative computed in different ways."""

    directional: Any
    hessian_times_vector: Any
    jacobian: Any
    hessian_of_codes: Any
    members: Any
    rematerialised: Any


@functools.partial(jax.jit, static_argnums=0)
def derivatives(model: nn.Module, params: Params, images: jax.Array) -> Derivatives:
    tangents = jax.tree.map(jnp.cos, params)
    code = model.apply({"params": params}, images[:1], method="encode")

    def loss(params: Params) -> jax.Array:
        return ae_jax.reconstruction_loss(model, params, images).mean()

    def decode(latents: jax.Array) -> jax.Array:
        replaced = code._replace(latents=latents[None]) if isinstance(code, ae_jax.PooledCode) else latents[None]
        return model.apply({"params": params}, replaced, method="decode")[0, ..., 0]

    def error(latents: jax.Array) -> jax.Array:
        return jnp.sum((decode(latents) - images[0, ..., 0]) ** 2)

    def along_tangents(params: Params) -> jax.Array:
        return _inner_product(jax.grad(loss)(params), tangents)

    (latents,) = code.latents if isinstance(code, ae_jax.PooledCode) else code
    grads, members = jax.grad(loss)(params), jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), params)
    return Derivatives(
        (jax.jvp(loss, (params,), (tangents,))[1], jax.linearize(loss, params)[1](tangents), along_tangents(params)),
        (jax.jvp(jax.grad(loss), (params,), (tangents,))[1], jax.grad(along_tangents)(params)),
        (jax.jacfwd(decode)(latents), jax.jacrev(decode)(latents)),
        (jax.hessian(error)(latents), jax.jacfwd(jax.jacfwd(error))(latents)),
        (
            jax.vmap(jax.value_and_grad(loss))(members),
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(jax.value_and_grad(loss), _each(members))),
        ),
        (jax.grad(jax.checkpoint(loss))(params), grads),
    )


def _inner_product(a: Params, b: Params) -> jax.Array:
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))


def _each(members: Params) -> list[Params]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], members) for i in range(2)]


@pytest.mark.parametrize("model", MODELS, ids=["conv", "conv-pool"])
def test_all_modes_of_differentiation_agree(model: nn.Module) -> None:
    images = jax.random.uniform(jax.random.key(2), (3, 28, 28, 1))
    params = ae_jax.create_train_state(model, jax.random.key(0)).params
    for name, (first, *others) in derivatives(model, params, images)._asdict().items():
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(first)) > 1e-6, name
        assert max(relative_difference(other, first) for other in others) <= 5e-6, name
