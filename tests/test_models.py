import functools

import jax
import pytest
from jax import numpy as jnp

import ae_jax

MODELS = {3: ae_jax.LinearAutoencoder, 64: ae_jax.ConvAutoencoder}


@pytest.mark.parametrize("latent_dim", MODELS)
def test_images_become_codes_become_images(latent_dim: int) -> None:
    model = MODELS[latent_dim]()
    images = jax.random.uniform(jax.random.key(0), (5, 28, 28, 1))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    latents = model.apply(variables, images, method="encode")
    recons = model.apply(variables, latents, method="decode")
    assert latents.shape == (5, latent_dim)
    assert recons.shape == images.shape
    assert 0 <= recons.min() <= recons.max() <= 1
    assert jnp.array_equal(model.apply(variables, images), recons)


@pytest.mark.parametrize("latent_dim", MODELS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (2, 28, 28), (2, 1, 28, 28), (2, 784), (2, 32, 32, 1)])
def test_a_wrong_image_shape_is_an_error_that_names_the_right_one(latent_dim: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images must have shape \(batch, 28, 28, 1\), got"):
        MODELS[latent_dim]().init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize("latent_dim", MODELS)
def test_pixels_that_were_not_normalised_are_an_error_that_says_how(latent_dim: int) -> None:
    with pytest.raises(ValueError, match=r"images must be floating-point, got uint8; ae_jax\.normalise"):
        MODELS[latent_dim]().init(jax.random.key(0), jnp.zeros((2, 28, 28, 1), jnp.uint8))


@pytest.mark.parametrize("latent_dim", MODELS)
def test_a_wrong_code_shape_is_an_error_that_names_the_right_one(latent_dim: int) -> None:
    with pytest.raises(ValueError, match=rf"latents must have shape \(batch, {latent_dim}\), got \(2, 5\)"):
        MODELS[latent_dim]().init(jax.random.key(0), jnp.zeros((2, 5)), method="decode")


@pytest.mark.parametrize("latent_dim", MODELS)
def test_the_code_can_have_another_size(latent_dim: int) -> None:
    model = MODELS[latent_dim](latent_dim=7)
    images = jnp.zeros((2, 28, 28, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    encode = functools.partial(model.apply, method="encode")
    assert jax.eval_shape(encode, variables, images).shape == (2, 7)
    assert jax.eval_shape(model.apply, variables, images).shape == (2, 28, 28, 1)
