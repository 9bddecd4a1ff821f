import functools

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax
from ae_jax.models.autoencoders import MODELS, param_shapes
from ae_jax.types import Params
from tests.support.arrays import relative_difference
from tests.support.fixtures import random_parameter

ARCHS = list(MODELS)


def random_images(n: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).random((n, 28, 28, 1), np.float32))


def fresh(model: nn.Module) -> dict[str, Params]:
    return {"params": jax.tree.map(random_parameter, param_shapes(model))}


@pytest.mark.parametrize("latent_dim", [None, 7])
@pytest.mark.parametrize("arch", ARCHS)
def test_encode_then_decode_equals_the_full_model(arch: str, latent_dim: int | None) -> None:
    model = MODELS[arch](**{"latent_dim": latent_dim} if latent_dim else {})
    images, variables = random_images(3), fresh(model)
    encode, decode = (jax.jit(functools.partial(model.apply, method=method)) for method in ("encode", "decode"))
    code = encode(variables, images)
    latents, positions = code if isinstance(code, ae_jax.PooledCode) else (code, ())
    assert latents.shape == (3, latent_dim or {"linear": 3, "conv": 64, "conv-pool": 64}[arch])
    recons = decode(variables, code)
    assert recons.shape == images.shape
    assert 0 <= recons.min() <= recons.max() <= 1
    assert relative_difference(jax.jit(model.apply)(variables, images), recons) <= 1e-6  # fused differently
    if arch == "conv-pool":
        assert [(found.shape, found.dtype.name) for found in positions] == [
            ((3, 14, 14, 16), "int32"),
            ((3, 7, 7, 32), "int32"),
        ]
        turned = code._replace(positions=tuple(found[::-1] for found in positions))
        assert relative_difference(decode(variables, turned), recons) > 0.01


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.usefixtures("unchecked")
def test_wrong_shapes_and_dtypes_are_named(arch: str) -> None:
    model, key = MODELS[arch](latent_dim=4), jax.random.key(0)

    def decode(latents: jax.Array) -> None:
        positions = (jnp.zeros((2, 14, 14, 16), jnp.int32), jnp.zeros((2, 7, 7, 32), jnp.int32))
        code = ae_jax.PooledCode(latents, positions) if arch == "conv-pool" else latents
        model.init(key, code, method="decode")

    for shape in ((28, 28, 1), (2, 28, 28), (2, 1, 28, 28), (2, 784), (2, 32, 32, 1)):
        with pytest.raises(ValueError, match=r"images must have shape \(batch, 28, 28, 1\), got"):
            model.init(key, jnp.zeros(shape))
    with pytest.raises(ValueError, match=r"images must be floating-point, got uint8; convert .* ae_jax\.to_float"):
        model.init(key, jnp.zeros((2, 28, 28, 1), jnp.uint8))
    with pytest.raises(ValueError, match=r"latents must have shape \(batch, 4\), got \(2, 5\)"):
        decode(jnp.zeros((2, 5)))
    with pytest.raises(ValueError, match="latents must be floating-point, got int32"):
        decode(jnp.zeros((2, 4), jnp.int32))


@pytest.mark.parametrize("arch", ARCHS)
def test_tanh_model_works_in_minus_1_to_1_but_returns_pixels(arch: str) -> None:
    images = random_images(4)
    sigmoid, tanh = MODELS[arch](), MODELS[arch](output="tanh")
    params = fresh(sigmoid)
    # an encoder of [-1, 1] sees 2x - 1, and (tanh(z) + 1) / 2 is sigmoid(2z)
    pixels = jax.jit(sigmoid.apply)(params, 2 * images - 1)
    expected = jax.nn.sigmoid(2 * jnp.log(pixels / (1 - pixels)))
    assert relative_difference(jax.jit(tanh.apply)(params, images), expected) <= 1e-5  # the logarithm's rounding


@pytest.mark.parametrize("arch", ARCHS)
def test_bfloat16_is_used_for_products_and_float32_for_everything_else(arch: str) -> None:
    images = random_images(4)
    model, exact = MODELS[arch](precision="bfloat16"), MODELS[arch]()
    params = ae_jax.create_train_state(exact, jax.random.key(1)).params
    own = jax.eval_shape(model.init, jax.random.key(1), images)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, own)

    def loss(params: Params) -> jax.Array:
        return ae_jax.reconstruction_loss(model, params, images).mean()

    text = jax.jit(jax.value_and_grad(loss)).lower(params).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line or "stablehlo.convolution" in line]
    assert products
    assert all("bf16" in line for line in products)
    value_and_grads = jax.eval_shape(jax.value_and_grad(loss), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(value_and_grads)} == {jnp.dtype("float32")}
    code = jax.eval_shape(functools.partial(model.apply, method="encode"), {"params": params}, images)
    assert jax.tree.leaves(code)[0].dtype == jnp.float32
    recons, expected = (jax.jit(m.apply)({"params": params}, images) for m in (model, exact))
    assert recons.dtype == jnp.float32
    assert 0 < relative_difference(recons, expected) < 0.03  # 8 bits, over six to eight layers
