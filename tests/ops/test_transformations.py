"""Convolution and pooling under JAX's transformations and on meshes, compared with plain JAX operations."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from jax import export, lax
from jax import numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from ae_jax import conv2d, conv_transpose2d, max_pool2d, max_unpool2d
from ae_jax.ops.conv import add_bias
from tests.support.arrays import random_array, relative_difference
from tests.support.devices import needs_devices

Params = dict[str, jax.Array]
Function = Callable[[Params, jax.Array], jax.Array]  # parameters and images to an array per image
RTOL = 2e-6  # float32 sums of up to 100 products, through four layers and back


def layers(params: Params, x: jax.Array, *, batch_minor: bool = False) -> jax.Array:
    settings = {"stride": 2, "padding": 1, "batch_minor": batch_minor}
    y = jnp.tanh(add_bias(conv2d(x, params["down"], **settings), params["bias"]))
    values, positions = max_pool2d(y)
    y = max_unpool2d(values**2, positions)
    return jnp.sin(conv_transpose2d(y, params["up"], **settings, output_padding=1))


def layers_by_definition(params: Params, x: jax.Array) -> jax.Array:
    def down(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        rows, columns = (2 * np.arange(size // 2)[:, None] + np.arange(3) for size in x.shape[1:3])
        pixels = padded[:, rows][:, :, :, columns]
        return jnp.einsum("niujvc,uvcd->nijd", pixels, kernel, precision="highest")

    y = jnp.tanh(down(x, params["down"]) + params["bias"][None, None, None])
    n, h, w, c = y.shape
    windows = y.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, c, 4)
    is_largest = jax.nn.one_hot(jnp.argmax(windows, axis=4), 4)
    kept = jnp.sum(windows * is_largest, axis=4, keepdims=True) ** 2 * is_largest
    y = kept.reshape(n, h // 2, w // 2, c, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(n, h, w, c)
    return jnp.sin(jax.linear_transpose(lambda x: down(x, params["up"]), x)(y)[0])


def make_params(num_images: int = 5) -> tuple[Params, jax.Array]:
    down, up = random_array(3, 3, 2, 4) / 3, random_array(3, 3, 2, 4, seed=1) / 3
    return {"down": down, "up": up, "bias": random_array(4)}, random_array(num_images, 4, 8, 2)


def loss_of(f: Function) -> Callable[[Params, jax.Array], jax.Array]:
    return lambda params, x: jnp.mean(f(params, x) ** 2)


def three_members(params: Params) -> Params:
    return jax.tree.map(lambda param: jnp.stack([param, 2 * param, -param]), params)


def gradients(f: Function, params: Params, x: jax.Array) -> Any:
    return jax.value_and_grad(loss_of(f), argnums=(0, 1))(params, x)


def second_order_gradient(f: Function, params: Params, x: jax.Array) -> Any:
    """Reverse mode over reverse mode, as a contractive penalty needs it."""

    def penalty(params: Params, x: jax.Array) -> jax.Array:
        return sum(jnp.sum(grad**2) for grad in jax.tree.leaves(jax.grad(loss_of(f), argnums=(0, 1))(params, x)))

    return jax.grad(penalty, argnums=(0, 1))(params, x)


def directional_derivatives(f: Function, params: Params, x: jax.Array) -> Any:
    tangents = (jax.tree.map(jnp.cos, params), jnp.sin(x))
    y, linear = jax.linearize(f, params, x)
    return y, linear(*tangents), jax.jvp(f, (params, x), tangents), jax.linear_transpose(linear, params, x)(y)


def hessian_vector_product(f: Function, params: Params, x: jax.Array) -> Any:
    tangents = (jax.tree.map(jnp.cos, params), jnp.sin(x))
    forward_over_reverse = jax.jvp(jax.grad(loss_of(f), argnums=(0, 1)), (params, x), tangents)
    reverse_over_forward = jax.grad(lambda *args: jax.jvp(loss_of(f), args, tangents)[1], argnums=(0, 1))(params, x)
    return forward_over_reverse, reverse_over_forward


def jacobians_and_hessian(f: Function, params: Params, x: jax.Array) -> Any:
    x = x[:1]
    return jax.jacfwd(f)(params, x), jax.jacrev(f)(params, x), jax.hessian(loss_of(f))(params, x)


def per_image_gradients(f: Function, params: Params, x: jax.Array) -> Any:
    return jax.vmap(lambda x: gradients(f, params, x[None]))(x)


def per_member_gradients(f: Function, params: Params, x: jax.Array) -> Any:
    members, images = three_members(params), jnp.stack([x, x[::-1], -x], axis=1)
    of_both = jax.vmap(lambda params, x: gradients(f, params, x), in_axes=(0, 1))(members, images)
    return jax.vmap(lambda params: gradients(f, params, x))(members), of_both


def gradient_through_vmap(f: Function, params: Params, x: jax.Array) -> Any:
    def loss(members: Params, x: jax.Array) -> jax.Array:
        every_pair = jax.vmap(jax.vmap(loss_of(f), in_axes=(None, 0)), in_axes=(0, None))
        return jnp.sum(every_pair(members, x[:, None]) ** 2)

    return jax.grad(loss, argnums=(0, 1))(three_members(params), x)


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


@pytest.mark.parametrize("transform", TRANSFORMATIONS)
def test_transformations_match_those_of_the_definition(transform: Callable[..., object]) -> None:
    params, x = make_params()  # arguments, not constants: jaxlib 0.7.2 evaluates products of constants wrongly
    batch_major, batch_minor, expected = (
        jax.jit(functools.partial(transform, function))(params, x)
        for function in (layers, functools.partial(layers, batch_minor=True), layers_by_definition)
    )
    assert relative_difference(batch_major, expected) <= RTOL
    assert relative_difference(batch_minor, expected) <= RTOL


def test_shardings_are_kept_on_a_mesh_with_explicit_axes() -> None:
    needs_devices(4)
    params, x = make_params(8)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Explicit,))
    sharded = jax.device_put(x, NamedSharding(mesh, P("batch")))

    @jax.jit
    def both(params: Params, x: jax.Array) -> tuple[jax.Array, tuple[Params, jax.Array]]:
        return layers(params, x), jax.grad(loss_of(layers), argnums=(0, 1))(params, x)

    replicated = jax.device_put(params, NamedSharding(mesh, P()))
    (y, (of_params, of_x)), expected = both(replicated, sharded), both(params, x)
    assert jax.typeof(y).sharding.spec[0] == jax.typeof(of_x).sharding.spec[0] == "batch"
    assert not any(jax.typeof(grad).sharding.spec[0] for grad in of_params.values())
    assert relative_difference((y, (of_params, of_x)), expected) <= RTOL
    with jax.set_mesh(mesh):
        assert relative_difference(both(replicated, sharded), expected) <= RTOL


def test_operands_may_share_the_axes_of_an_explicit_mesh() -> None:
    needs_devices(4)
    x, kernel = random_array(4, 5, 5, 2), random_array(3, 3, 2, 4)
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Explicit, AxisType.Explicit))
    sharded = jax.device_put(x, NamedSharding(mesh, P(("a", "b"))))
    y = jax.jit(conv2d)(sharded, jax.device_put(kernel, NamedSharding(mesh, P(None, None, None, "a"))))
    assert relative_difference(y, conv2d(x, kernel)) <= RTOL


@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map_matches_one_device(check_vma: bool) -> None:
    needs_devices(4)
    params, x = make_params(8)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))

    def shard(params: Params, x: jax.Array) -> jax.Array:
        return lax.pmean(loss_of(layers)(params, x), "batch")

    specs = {"in_specs": (P(), P("batch")), "out_specs": P()}
    sharded = jax.shard_map(shard, mesh=mesh, **specs, check_vma=check_vma)
    actual, expected = (jax.jit(jax.value_and_grad(loss))(params, x) for loss in (sharded, loss_of(layers)))
    assert relative_difference(actual, expected) <= RTOL


def test_an_empty_axis_can_be_mapped() -> None:
    x, kernel = jnp.zeros((0, 4, 6, 6, 2)), jnp.zeros((3, 3, 2, 4))
    assert jax.vmap(conv2d, (0, None))(x, kernel).shape == (0, 4, 4, 4, 4)
    assert jax.vmap(max_pool2d)(x)[0].shape == (0, 4, 3, 3, 2)


def test_results_without_jit_are_the_same() -> None:
    params, x = make_params()
    expected = layers(params, x)
    with jax.disable_jit():
        actual = layers(params, x)
    assert relative_difference(actual, expected) <= RTOL


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_a_gradient_is_exported_for_any_batch_size(platform: str) -> None:
    params, x = make_params()

    @jax.jit
    def gradient(params: Params, x: jax.Array) -> Params:
        return jax.grad(loss_of(functools.partial(layers, batch_minor=True)))(params, x)

    (n,) = export.symbolic_shape("n")
    shape = jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype)
    exported = export.export(gradient, platforms=[platform])(params, shape)
    assert ("stablehlo.convolution" in exported.mlir_module()) == (platform != "cpu")
    if platform == jax.default_backend():
        loaded = export.deserialize(exported.serialize())
        for size in (1, 3, 5):
            assert relative_difference(loaded.call(params, x[:size]), gradient(params, x[:size])) <= RTOL
