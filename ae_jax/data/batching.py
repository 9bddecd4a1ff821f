"""Mini-batches of an epoch: shuffling, slicing, and pixels as floats in [0, 1]."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int32

from ae_jax.types import HostImages, Images, Order, PackedPixels, PerImage, Pixels, RandomKey, Step


def batches(images: Pixels, key: RandomKey | None = None, batch_size: int = 64) -> Iterator[Float[Array, "n ..."]]:
    """Iterate over one epoch of `images u8[n, …]` in mini-batches, shuffled by `key` or, without one, in their order.

    Of a memory map, only the images of a batch are read at a time.

    Yields:
      `f32[batch_size, …]` in [0, 1]; the last batch may be smaller. Every image occurs exactly once.

    Raises:
      ValueError: there are no images, they are not `u8`, or `batch_size` is less than one.

    >>> images = np.zeros((150, 28, 28, 1), np.uint8)
    >>> [batch.shape[0] for batch in ae_jax.batches(images, jax.random.key(0), batch_size=64)]
    [64, 64, 22]
    """
    order = np.arange(len(images)) if key is None else np.asarray(epoch_order(key, len(images)))
    starts = np.cumsum(batch_sizes(len(images), batch_size))[:-1]
    for rows in np.split(order, starts):
        yield to_float(images[rows])


@functools.partial(jax.jit, static_argnames="n")
def epoch_order(key: RandomKey, n: int) -> Order:
    """A random permutation `i32[n]`: the order in which an epoch visits `n` images."""
    return jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32))


def batch_sizes(n: int, batch_size: int) -> Int32[np.ndarray, "steps"]:
    """The number of images in each batch; only the last may be smaller than `batch_size`. Errors as `batches`."""
    if n < 1 or batch_size < 1:
        raise ValueError(f"cannot make batches of {batch_size} from {n} images; both numbers must be at least 1")
    size = min(n, batch_size)
    starts = np.arange(0, n, size, dtype=np.int32)
    return np.minimum(n - starts, size)


def pack(images: HostImages) -> PackedPixels:
    """View four neighbouring pixels of `u8[n, h, w, 1]` as one number, `u32[n, h, w / 4, 1]`.

    On CPUs, XLA gathers the images of a batch number by number.
    """
    return np.ascontiguousarray(images.squeeze(3)).view(np.uint32)[..., None]


def take_batch(
    images: Pixels | PackedPixels,
    order: Order,
    i: int | Step,
    batch_size: int,
    shard: int | Step = 0,
    num_shards: int = 1,
) -> tuple[Float[Array, "batch ..."], PerImage]:
    """Batch `i` of an epoch, or one of its `num_shards` equal shards, padded to the full size.

    `images` are u8[n, …] on the device, or from `pack`; the epoch visits them in the order i32[n]. The results are
    `f32[ceil(batch_size / num_shards), …]` in [0, 1], and the weight of each row in the mean over the whole batch:
    1 / (images in the batch), or 0 for padding.
    """
    size, n = -(-batch_size // num_shards), len(order)
    rows = shard * size + jnp.arange(size, dtype=jnp.int32)
    positions = i * batch_size + rows
    is_image = (rows < batch_size) & (positions < n)
    weights = is_image.astype(jnp.float32) / jnp.minimum(batch_size, n - i * batch_size)
    indices = order.at[positions].get(mode="clip")
    batch = jnp.asarray(images)[indices]
    if batch.dtype == jnp.uint32:  # from `pack`
        batch = lax.bitcast_convert_type(batch, jnp.uint8).reshape(*batch.shape[:2], -1, 1)
    return to_float(batch), weights


def check_pixel_type(dtype: np.dtype[Any]) -> None:
    """Raise `ValueError` for images that are not `u8[…]`: to divide others by 255 would be a guess."""
    if dtype != np.uint8:
        raise ValueError(
            f"images must be uint8, pixels from 0 to 255, got {dtype}; "
            "floating-point ones in [0, 1] go to train_step, eval_step, reconstruct or a model as they are"
        )


@jax.jit
def to_float(images: Pixels) -> Images:
    """Convert `u8[…]` to `f32[…]` in [0, 1]: `images / 255`, correctly rounded, as PyTorch's `ToTensor`.

    XLA turns a division by 255 into a multiplication by the rounded 1/255, which is off by one ulp for 126 of the 256
    values. So 1/255 is split: an 8-bit pixel times the 16 bits of `high` is exact, and adding `low` rounds once.
    `ValueError` for other dtypes.

    >>> pixels = np.arange(256, dtype=np.uint8)
    >>> bool((ae_jax.to_float(pixels) == pixels / np.float32(255)).all())
    True
    """
    check_pixel_type(images.dtype)
    high = np.float32(round(2**23 / 255) / 2**23)
    low = np.float32(1 / 255 - float(high))
    pixels = jnp.asarray(images, jnp.float32)
    return pixels * high + pixels * low
