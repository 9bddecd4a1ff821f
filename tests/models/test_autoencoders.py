import functools

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax
from ae_jax.types import Params

MODELS = {3: ae_jax.LinearAutoencoder, 64: ae_jax.ConvAutoencoder}
ALL = [ae_jax.LinearAutoencoder, ae_jax.ConvAutoencoder, ae_jax.ConvPoolAutoencoder]


def random_images(n: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).random((n, 28, 28, 1), np.float32))


def fresh(model: nn.Module) -> dict[str, Params]:
    return {"params": ae_jax.create_train_state(model, jax.random.key(1)).params}


@pytest.mark.parametrize("latent_dim", MODELS)
def test_encode_then_decode_equals_the_full_model(latent_dim: int) -> None:
    model = MODELS[latent_dim]()
    images = random_images(5)
    variables = fresh(model)
    latents = jax.jit(functools.partial(model.apply, method="encode"))(variables, images)
    recons = jax.jit(functools.partial(model.apply, method="decode"))(variables, latents)
    assert latents.shape == (5, latent_dim)
    assert recons.shape == images.shape
    assert 0 <= recons.min() <= recons.max() <= 1
    np.testing.assert_allclose(jax.jit(model.apply)(variables, images), recons, rtol=1e-5)  # fused differently


@pytest.mark.parametrize("latent_dim", MODELS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (2, 28, 28), (2, 1, 28, 28), (2, 784), (2, 32, 32, 1)])
@pytest.mark.usefixtures("unchecked")
def test_wrong_image_shape_error_names_the_expected_shape(latent_dim: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images must have shape \(batch, 28, 28, 1\), got"):
        MODELS[latent_dim]().init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize("latent_dim", MODELS)
@pytest.mark.usefixtures("unchecked")
def test_uint8_images_raise_an_error_that_suggests_normalise(latent_dim: int) -> None:
    with pytest.raises(ValueError, match=r"images must be floating-point, got uint8; convert .* ae_jax\.normalise"):
        MODELS[latent_dim]().init(jax.random.key(0), jnp.zeros((2, 28, 28, 1), jnp.uint8))


@pytest.mark.parametrize("latent_dim", MODELS)
@pytest.mark.usefixtures("unchecked")
def test_wrong_latent_shape_error_names_the_expected_shape(latent_dim: int) -> None:
    with pytest.raises(ValueError, match=rf"latents must have shape \(batch, {latent_dim}\), got \(2, 5\)"):
        MODELS[latent_dim]().init(jax.random.key(0), jnp.zeros((2, 5)), method="decode")


@pytest.mark.parametrize("latent_dim", MODELS)
def test_latent_dimension_is_configurable(latent_dim: int) -> None:
    model = MODELS[latent_dim](latent_dim=7)
    images = jnp.zeros((2, 28, 28, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    encode = functools.partial(model.apply, method="encode")
    assert jax.eval_shape(encode, variables, images).shape == (2, 7)
    assert jax.eval_shape(model.apply, variables, images).shape == (2, 28, 28, 1)


@pytest.mark.usefixtures("unchecked")
def test_pooling_model_rejects_wrong_shapes_and_dtypes() -> None:
    model, key = ae_jax.ConvPoolAutoencoder(), jax.random.key(0)
    with pytest.raises(ValueError, match=r"images must have shape \(batch, 28, 28, 1\), got \(2, 32, 32, 1\)"):
        model.init(key, jnp.zeros((2, 32, 32, 1)))
    with pytest.raises(ValueError, match="images must be floating-point, got uint8"):
        model.init(key, jnp.zeros((2, 28, 28, 1), jnp.uint8))
    positions = (jnp.zeros((2, 14, 14, 16), jnp.int32), jnp.zeros((2, 7, 7, 32), jnp.int32))
    with pytest.raises(ValueError, match=r"latents must have shape \(batch, 64\), got \(2, 5\)"):
        model.init(key, ae_jax.PooledCode(jnp.zeros((2, 5)), positions), method="decode")
    with pytest.raises(ValueError, match="latents must be floating-point, got int32"):
        model.init(key, ae_jax.PooledCode(jnp.zeros((2, 64), jnp.int32), positions), method="decode")


def test_pooled_code_holds_the_max_positions_that_decoding_uses() -> None:
    model = ae_jax.ConvPoolAutoencoder(latent_dim=5)
    images = random_images(3)
    variables = fresh(model)
    encode, decode = (jax.jit(functools.partial(model.apply, method=method)) for method in ("encode", "decode"))
    code = encode(variables, images)
    assert isinstance(code, ae_jax.PooledCode)
    assert code.latents.shape == (3, 5)
    assert [(found.shape, found.dtype) for found in code.positions] == [
        ((3, 14, 14, 16), jnp.int32),
        ((3, 7, 7, 32), jnp.int32),
    ]
    recons = decode(variables, code)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, images), recons, rtol=1e-5)  # fused differently
    turned = code._replace(positions=tuple(found[::-1] for found in code.positions))
    assert not np.allclose(decode(variables, turned), recons)


@pytest.mark.parametrize("model_class", ALL)
def test_tanh_model_works_in_minus_1_to_1_but_returns_pixels(model_class: type) -> None:
    images = random_images(4)
    sigmoid, tanh = model_class(), model_class(output="tanh")
    params = fresh(sigmoid)
    # an encoder of [-1, 1] sees 2x - 1, and (tanh(z) + 1) / 2 is sigmoid(2z)
    pixels = jax.jit(sigmoid.apply)(params, 2 * images - 1)
    expected = jax.nn.sigmoid(2 * jnp.log(pixels / (1 - pixels)))
    assert jnp.allclose(jax.jit(tanh.apply)(params, images), expected, atol=1e-5)  # the logarithm's rounding


@pytest.mark.parametrize("model_class", ALL)
def test_bfloat16_is_used_for_products_and_float32_for_everything_else(model_class: type) -> None:
    images = random_images(4)
    model, exact = model_class(precision="bfloat16"), model_class()
    params = fresh(exact)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(
        lambda leaf: leaf.shape, jax.eval_shape(model.init, jax.random.key(1), images)["params"]
    )

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
    assert 0 < jnp.abs(recons - expected).max() < 0.02  # 8 bits, over six to eight layers
