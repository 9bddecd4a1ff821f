"""What training makes smaller: losses of a model's parameters on a batch, one value an image."""

import functools
import inspect
from collections.abc import Callable
from typing import TypeAlias, cast

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from ae_jax.data.batching import normalise
from ae_jax.types import Batch, HostBatch, Params, PerImage, PerImageKeys, Pixels

LossFn: TypeAlias = Callable[..., PerImage]  # (model, params, images) or, if random, (model, params, images, keys)


def reconstruction_loss(model: nn.Module, params: Params, images: Batch) -> PerImage:
    """Squared error of the reconstructions, the mean over each image's pixels: `f32[batch, …]` → `f32[batch]`."""
    return _squared_error(apply(model, params, images), images)


@functools.cache
def denoising_loss(noise: float) -> LossFn:
    """`reconstruction_loss` of a model that is shown `add_noise(images, keys, noise)` (Vincent et al. 2008, ICML).

    Args:
      noise: its standard deviation, where pixels are in [0, 1].

    Returns:
      `(model, params, images f32[batch, …], keys key[batch]) → f32[batch]`, the same function for the same `noise`, so
      that it compiles once.
    """

    def loss(model: nn.Module, params: Params, images: Batch, keys: PerImageKeys) -> PerImage:
        return _squared_error(apply(model, params, add_noise(images, keys, noise)), images)

    return loss


def add_noise(images: Batch, keys: PerImageKeys, noise: float) -> Batch:
    """`f32[batch, …]` in [0, 1] plus normal noise of standard deviation `noise`, cut off at 0 and 1."""
    normal = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
    return jnp.clip(images + noise * normal, 0, 1)


def with_fixed_noise(images: Pixels, noise: float) -> HostBatch:
    """Add the same noise on every call to `u8[n, …]`: `f32[n, …]` in [0, 1], to show its reconstructions."""
    return np.asarray(add_noise(normalise(images), jax.random.split(jax.random.key(0), len(images)), noise))


def apply(model: nn.Module, params: Params, images: Batch) -> Batch:
    """The model's reconstructions."""
    return cast("Batch", model.apply({"params": params}, images))


def losses(
    loss_fn: LossFn, model: nn.Module, params: Params, images: Batch, keys: PerImageKeys | None = None
) -> PerImage:
    """The loss of each image; `keys` are for a `loss_fn` that wants them.

    Raises:
      ValueError: `loss_fn` gives anything but one value an image, or wants keys and there are none.
    """
    wanted = {"keys": keys} if wants_keys(loss_fn) else {}
    if wanted and keys is None:
        raise ValueError("this loss_fn has randomness in it; give a key")
    values = loss_fn(model, params, images, **wanted)
    if values.shape != images.shape[:1]:
        raise ValueError(f"loss_fn must give one value an image, f32[{len(images)}], not f32{list(values.shape)}")
    return values


def wants_keys(loss_fn: LossFn) -> bool:
    """Whether a loss has randomness in it: a parameter named `keys`."""
    return "keys" in inspect.signature(loss_fn).parameters


def _squared_error(recons: Batch, images: Batch) -> PerImage:
    return jnp.mean(jnp.square(recons - images), axis=range(1, images.ndim))
