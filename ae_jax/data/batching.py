"""From a dataset's pixels to the batches of an epoch: order, slices, and pixel values in [0, 1]."""

import functools
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Int, Int32

from ae_jax.types import Batch, HostBatch, HostImages, Order, PerImage, Pixels, RandomKey, Step


def batches(images: Pixels, key: RandomKey | None = None, batch_size: int = 64) -> Iterator[Batch]:
    """EpochBatches `images` to a step function, batch by batch.

    Args:
      images: `u8[n, …]`, usually a NumPy array.
      key: draws the order; without one the images come as they stand.
      batch_size: images a batch.

    Yields:
      `f32[batch_size, …]` in [0, 1]; the last batch is as short as what is left. Every image comes exactly once.

    Raises:
      ValueError: there are no images, or `batch_size` is less than one.

    >>> images = np.zeros((150, 28, 28, 1), np.uint8)
    >>> [batch.shape[0] for batch in ae_jax.batches(images, jax.random.key(0), batch_size=64)]
    [64, 64, 22]
    """
    order = np.arange(len(images)) if key is None else np.asarray(epoch_order(key, len(images)))
    starts = np.cumsum(batch_sizes(len(images), batch_size))[:-1]
    for rows in np.split(order, starts):
        yield normalise(images[rows])


@functools.partial(jax.jit, static_argnums=1)
def epoch_order(key: RandomKey, n: int) -> Order:
    """The order `i32[n]` in which an epoch visits `n` images."""
    return jax.random.permutation(key, n)


def batch_sizes(n: int, batch_size: int) -> Int32[np.ndarray, "steps"]:
    """The sizes of the batches that `n` images make: all `batch_size`, but for the last, which takes what is left.

    Raises:
      ValueError: there are no images, or `batch_size` is less than one.
    """
    if n < 1 or batch_size < 1:
        raise ValueError(f"cannot make batches of {batch_size} from {n} images; there must be at least one of each")
    size = min(n, batch_size)
    starts = np.arange(0, n, size, dtype=np.int32)
    return np.minimum(n - starts, size)


class ResidentBatches(NamedTuple):
    """An epoch's batches where a device holds all images."""

    images: Pixels  # u8[n, …]
    order: Order  # i32[n]

    def batch(
        self, i: int | Step, batch_size: int, *, shard: int | Step = 0, num_shards: int = 1
    ) -> tuple[Batch, PerImage]:
        """Batch `i`, or one of the equal shards that it is split into, always of full size.

        Returns:
          `f32[ceil(batch_size / num_shards), …]` in [0, 1], and the images' weights in the mean over the whole batch:
          1 / (images in the batch), 0 for rows that only fill the shape up.
        """
        positions, weights = _places(len(self.order), i, batch_size, shard, num_shards)
        rows = self.order.at[positions].get(mode="clip")
        return normalise(jnp.asarray(self.images)[rows]), weights


class ChunkBatches(NamedTuple):
    """An epoch's batches where a device holds its shard of some of them: `chunk_rows` of its images."""

    images: Pixels  # u8[1, steps, ceil(batch_size / num_shards), …], of each device its own
    first: Step | np.int32  # the first of the batches
    num_images: Step | np.int32  # in the epoch

    def batch(
        self, i: int | Step, batch_size: int, *, shard: int | Step = 0, num_shards: int = 1
    ) -> tuple[Batch, PerImage]:
        """As `ResidentBatches.batch`, for a batch of the chunk."""
        _, weights = _places(self.num_images, i, batch_size, shard, num_shards)
        return normalise(jnp.asarray(self.images)[0, i - self.first]), weights


EpochBatches: TypeAlias = ResidentBatches | ChunkBatches


def chunk_rows(
    order: Int[np.ndarray, "n"], first: int, steps: int, batch_size: int, *, shards: range, num_shards: int
) -> Int[np.ndarray, "shards steps size"]:
    """The rows of a dataset that make up `ChunkBatches.images` from batch `first` on, for some of the devices."""
    size = -(-batch_size // num_shards)
    starts = batch_size * (first + np.arange(steps)) + size * np.array(shards)[:, None]
    return order[np.minimum(starts[:, :, None] + np.arange(size), len(order) - 1)]


def _places(
    n: int | Step | np.int32, i: int | Step, batch_size: int, shard: int | Step, num_shards: int
) -> tuple[Int32[Array, "size"], PerImage]:
    """Where in an epoch of `n` images a shard of batch `i` lies, and its images' weights in the batch's mean."""
    size = -(-batch_size // num_shards)
    places = shard * size + jnp.arange(size)
    positions = i * batch_size + places
    is_image = (places < batch_size) & (positions < n)
    return positions, is_image.astype(jnp.float32) / jnp.minimum(batch_size, n - i * batch_size)


def normalise_on_host(images: HostImages) -> HostBatch:
    """As `normalise`, as a NumPy array."""
    return np.asarray(normalise(images))


@jax.jit
def normalise(images: Pixels) -> Batch:
    """`u8[…]` → `f32[…]` in [0, 1]: `images / 255` rounded once, as PyTorch's `ToTensor` gives it.

    Written as a division, XLA multiplies by the rounded 1/255 instead, and 126 of the 256 values are off by one ulp.
    So 1/255 is split: 8 bits times the 16 of `high` is exact, and what `low` adds is rounded once.

    >>> pixels = np.arange(256, dtype=np.uint8)
    >>> bool((ae_jax.normalise(pixels) == pixels / np.float32(255)).all())
    True
    """
    high = np.float32(round(2**23 / 255) / 2**23)
    low = np.float32(1 / 255 - float(high))
    pixels = jnp.asarray(images, jnp.float32)
    return pixels * high + pixels * low
