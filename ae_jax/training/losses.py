"""Per-image loss functions, and noise for denoising."""

import functools
import inspect
from collections.abc import Callable
from typing import TypeAlias, cast

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp

from ae_jax.data.batching import to_float
from ae_jax.types import Images, Params, PerImage, PerImageKeys, Pixels, RandomKey, Step

LossFn: TypeAlias = Callable[..., PerImage]  # (model, params, images) or, if stochastic, (model, params, images, keys)


def reconstruction_loss(model: nn.Module, params: Params, images: Images) -> PerImage:
    """Mean squared error of each image's reconstruction over its pixels: `f32[batch, …]` → `f32[batch]`."""
    return _squared_error(apply(model, params, images), images)


@functools.cache
def denoising_loss(noise: float) -> LossFn:
    """Make the loss of a denoising autoencoder: reconstruct `images` from noisy ones (Vincent et al. 2008, ICML).

    `noise` is the standard deviation of the Gaussian noise, for pixels in [0, 1].

    Returns:
      `(model, params, images f32[batch, …], keys key[batch]) → f32[batch]`; cached per `noise`, so it compiles once.
    """

    def loss(model: nn.Module, params: Params, images: Images, keys: PerImageKeys) -> PerImage:
        return _squared_error(apply(model, params, add_noise(images, keys, noise)), images)

    return loss


def add_noise(images: Images, keys: PerImageKeys, noise: float) -> Images:
    """Add Gaussian noise of standard deviation `noise` to `f32[batch, …]` in [0, 1], and clip the sum to [0, 1]."""
    normal = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
    return jnp.clip(images + noise * normal, 0, 1)


def with_fixed_noise(images: Pixels, noise: float) -> Images:
    """Add reproducible noise (fixed key) to `u8[n, …]`, for figures and evaluation: `f32[n, …]` in [0, 1]."""
    return add_noise(to_float(images), jax.random.split(jax.random.key(0), len(images)), noise)


def apply(model: nn.Module, params: Params, images: Images) -> Images:
    """Reconstruct a batch."""
    return cast("Images", model.apply({"params": params}, images))


def losses(
    loss_fn: LossFn, model: nn.Module, params: Params, images: Images, keys: PerImageKeys | None = None
) -> PerImage:
    """The loss of each image; `ValueError` for a result of another shape, or a stochastic `loss_fn` without `keys`."""
    stochastic = _is_stochastic(loss_fn)
    if stochastic and keys is None:
        raise ValueError("loss_fn is stochastic (it has a parameter named keys); pass a key")
    values = loss_fn(model, params, images, **({"keys": keys} if stochastic else {}))
    if values.shape != images.shape[:1]:
        raise ValueError(f"loss_fn must return one value per image, f32[{len(images)}], not f32{list(values.shape)}")
    return values


def image_keys(
    loss_fn: LossFn, key: RandomKey | None, step: Step, size: int, axis_name: str | None = None
) -> PerImageKeys | None:
    """One key per image of a batch, or of this device's shard of it; None without `key` or for a deterministic loss."""
    if key is None or not _is_stochastic(loss_fn):
        return None
    rows = (lax.axis_index(axis_name) if axis_name else 0) * size + jnp.arange(size, dtype=jnp.int32)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, step), rows)


def _is_stochastic(loss_fn: LossFn) -> bool:
    return "keys" in inspect.signature(loss_fn).parameters


def _squared_error(recons: Images, images: Images) -> PerImage:
    """The mean over the pixels; with the batch as the minor axis, XLA vectorises the sums on CPUs."""
    errors = jnp.moveaxis(recons - images.astype(recons.dtype), 0, -1)
    return jnp.mean(jnp.square(errors), axis=range(images.ndim - 1))
