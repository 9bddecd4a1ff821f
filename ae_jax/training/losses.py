"""Per-image loss functions, and noise for denoising."""

import inspect
from collections.abc import Callable
from typing import TypeAlias, cast

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from ae_jax.data.batching import normalise
from ae_jax.system.decorators import cache
from ae_jax.types import Batch, HostBatch, Params, PerImage, PerImageKeys, Pixels

LossFn: TypeAlias = Callable[..., PerImage]  # (model, params, images) or, if stochastic, (model, params, images, keys)


def reconstruction_loss(model: nn.Module, params: Params, images: Batch) -> PerImage:
    """Mean squared error of each image's reconstruction over its pixels: `f32[batch, …]` → `f32[batch]`."""
    return _squared_error(apply(model, params, images), images)


@cache
def denoising_loss(noise: float) -> LossFn:
    """Make the loss of a denoising autoencoder: reconstruct `images` from noisy ones (Vincent et al. 2008, ICML).

    Args:
      noise: standard deviation of the Gaussian noise (`add_noise`), for pixels in [0, 1].

    Returns:
      `(model, params, images f32[batch, …], keys key[batch]) → f32[batch]`; cached per `noise`, so it compiles once.
    """

    def loss(model: nn.Module, params: Params, images: Batch, keys: PerImageKeys) -> PerImage:
        return _squared_error(apply(model, params, add_noise(images, keys, noise)), images)

    return loss


def add_noise(images: Batch, keys: PerImageKeys, noise: float) -> Batch:
    """Add Gaussian noise of standard deviation `noise` to `f32[batch, …]` in [0, 1], and clip the sum to [0, 1]."""
    normal = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
    return jnp.clip(images + noise * normal, 0, 1)


def with_fixed_noise(images: Pixels, noise: float) -> HostBatch:
    """Add reproducible noise (fixed key) to `u8[n, …]`, for figures and evaluation: `f32[n, …]` in [0, 1]."""
    return np.asarray(add_noise(normalise(images), jax.random.split(jax.random.key(0), len(images)), noise))


def apply(model: nn.Module, params: Params, images: Batch) -> Batch:
    """Reconstruct a batch."""
    return cast("Batch", model.apply({"params": params}, images))


def losses(
    loss_fn: LossFn, model: nn.Module, params: Params, images: Batch, keys: PerImageKeys | None = None
) -> PerImage:
    """The loss of each image; `ValueError` for a result of another shape, or a stochastic `loss_fn` without `keys`."""
    stochastic = is_stochastic(loss_fn)
    if stochastic and keys is None:
        raise ValueError("loss_fn is stochastic (it has a parameter named keys); pass a key")
    values = loss_fn(model, params, images, **({"keys": keys} if stochastic else {}))
    if values.shape != images.shape[:1]:
        raise ValueError(f"loss_fn must return one value per image, f32[{len(images)}], not f32{list(values.shape)}")
    return values


def is_stochastic(loss_fn: LossFn) -> bool:
    """Whether a loss needs random keys: it has a parameter named `keys`."""
    return "keys" in inspect.signature(loss_fn).parameters


def _squared_error(recons: Batch, images: Batch) -> PerImage:
    """The mean over the pixels; with the batch as the minor axis, XLA vectorises the sums on CPUs."""
    errors = jnp.moveaxis(recons - images.astype(recons.dtype), 0, -1)
    return jnp.mean(jnp.square(errors), axis=range(images.ndim - 1))
