"""JAX's transformations of a function, to be compared between two implementations of it."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

Params = dict[str, jax.Array]
Function = Callable[[Params, jax.Array], jax.Array]  # parameters and images to an array per image


def gradients(f: Function, params: Params, x: jax.Array) -> Any:
    return jax.value_and_grad(_loss(f), argnums=(0, 1))(params, x)


def second_order_gradient(f: Function, params: Params, x: jax.Array) -> Any:
    """Reverse mode over reverse mode, as a contractive penalty needs it."""

    def penalty(params: Params, x: jax.Array) -> jax.Array:
        return sum(jnp.sum(grad**2) for grad in jax.tree.leaves(jax.grad(_loss(f), argnums=(0, 1))(params, x)))

    return jax.grad(penalty, argnums=(0, 1))(params, x)


def directional_derivatives(f: Function, params: Params, x: jax.Array) -> Any:
    tangents = (jax.tree.map(jnp.cos, params), jnp.sin(x))
    y, linear = jax.linearize(f, params, x)
    return y, linear(*tangents), jax.jvp(f, (params, x), tangents), jax.linear_transpose(linear, params, x)(y)


def hessian_vector_product(f: Function, params: Params, x: jax.Array) -> Any:
    tangents = (jax.tree.map(jnp.cos, params), jnp.sin(x))
    forward_over_reverse = jax.jvp(jax.grad(_loss(f), argnums=(0, 1)), (params, x), tangents)
    reverse_over_forward = jax.grad(lambda *args: jax.jvp(_loss(f), args, tangents)[1], argnums=(0, 1))(params, x)
    return forward_over_reverse, reverse_over_forward


def jacobians_and_hessian(f: Function, params: Params, x: jax.Array) -> Any:
    x = x[:1]
    return jax.jacfwd(f)(params, x), jax.jacrev(f)(params, x), jax.hessian(_loss(f))(params, x)


def per_image_gradients(f: Function, params: Params, x: jax.Array) -> Any:
    return jax.vmap(lambda x: gradients(f, params, x[None]))(x)


def per_member_gradients(f: Function, params: Params, x: jax.Array) -> Any:
    members, images = _members(params), jnp.stack([x, x[::-1], -x], axis=1)
    of_both = jax.vmap(lambda params, x: gradients(f, params, x), in_axes=(0, 1))(members, images)
    return jax.vmap(lambda params: gradients(f, params, x))(members), of_both


def gradient_through_vmap(f: Function, params: Params, x: jax.Array) -> Any:
    def loss(members: Params, x: jax.Array) -> jax.Array:
        every_pair = jax.vmap(jax.vmap(_loss(f), in_axes=(None, 0)), in_axes=(0, None))
        return jnp.sum(every_pair(members, x[:, None]) ** 2)

    return jax.grad(loss, argnums=(0, 1))(_members(params), x)


def rematerialised_gradients(f: Function, params: Params, x: jax.Array) -> Any:
    return gradients(jax.checkpoint(f), params, x), hessian_vector_product(jax.checkpoint(f), params, x)


def gradient_descent_in_scan(f: Function, params: Params, x: jax.Array) -> Any:
    def body(params: Params, x: jax.Array) -> tuple[Params, jax.Array]:
        value, (grads, _) = gradients(f, params, x[None])
        return jax.tree.map(lambda param, grad: param - 0.1 * grad, params, grads), value

    return lax.scan(body, params, x)


TRANSFORMATIONS = (
    gradients,
    second_order_gradient,
    directional_derivatives,
    hessian_vector_product,
    jacobians_and_hessian,
    per_image_gradients,
    per_member_gradients,
    gradient_through_vmap,
    rematerialised_gradients,
    gradient_descent_in_scan,
)


def _loss(f: Function) -> Callable[[Params, jax.Array], jax.Array]:
    return lambda params, x: jnp.mean(f(params, x) ** 2)


def _members(params: Params) -> Params:
    return jax.tree.map(lambda param: jnp.stack([param, 2 * param, -param]), params)
