"""Mini-batches of an epoch: shuffling, slicing, and normalisation of pixels to [0, 1]."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Int, Int32

from ae_jax.system.decorators import jit
from ae_jax.types import Batch, HostBatch, HostImages, Order, PackedPixels, PerImage, Pixels, RandomKey, Step


def batches(images: Pixels, key: RandomKey | None = None, batch_size: int = 64) -> Iterator[Batch]:
    """Iterate over one epoch of `images` in mini-batches.

    Args:
      images: `u8[n, …]`, usually a NumPy array.
      key: shuffles the images; None keeps their order.
      batch_size: images per batch.

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
        yield normalise(images[rows])


@jit(static_argnums=1)
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
    n, h, w, _ = images.shape
    return np.ascontiguousarray(images).reshape(n, h, w // 4, 4).view(np.uint32)


def _unpack(images: Pixels | PackedPixels) -> Pixels:
    if images.dtype != np.uint32:
        return images
    n, h, _, _ = images.shape
    return lax.bitcast_convert_type(images, jnp.uint8).reshape(n, h, -1, 1)


class ResidentBatches(NamedTuple):
    """The batches of an epoch from a device-resident dataset."""

    images: Pixels | PackedPixels  # u8[n, …], or from `pack`
    order: Order  # i32[n]

    def batch(
        self, i: int | Step, batch_size: int, *, shard: int | Step = 0, num_shards: int = 1
    ) -> tuple[Batch, PerImage]:
        """Batch `i`, or one of its `num_shards` equal shards, padded to the full size.

        Returns:
          `f32[ceil(batch_size / num_shards), …]` in [0, 1], and the weight of each row in the mean over the whole
          batch: 1 / (images in the batch), or 0 for padding.
        """
        positions, weights = _positions_and_weights(len(self.order), i, batch_size, shard, num_shards)
        rows = self.order.at[positions].get(mode="clip")
        return normalise(_unpack(jnp.asarray(self.images)[rows])), weights


class ChunkBatches(NamedTuple):
    """Consecutive batches of an epoch, streamed as one chunk; each device holds its shards, see `chunk_rows`."""

    images: Pixels  # u8[1, steps, ceil(batch_size / num_shards), …] per device
    first: Step | np.int32  # index of the first batch
    num_images: Step | np.int32  # in the epoch

    def batch(
        self, i: int | Step, batch_size: int, *, shard: int | Step = 0, num_shards: int = 1
    ) -> tuple[Batch, PerImage]:
        """Batch `i`, which this chunk must hold, as `ResidentBatches.batch` gives it."""
        _, weights = _positions_and_weights(self.num_images, i, batch_size, shard, num_shards)
        return normalise(jnp.asarray(self.images)[0, i - self.first]), weights


EpochBatches: TypeAlias = ResidentBatches | ChunkBatches


def chunk_rows(
    order: Int[np.ndarray, "n"], first: int, steps: int, batch_size: int, *, shards: range, num_shards: int
) -> Int[np.ndarray, "shards steps size"]:
    """The dataset rows of the `ChunkBatches` with batches `first, …, first + steps - 1`, for some of the shards."""
    size = -(-batch_size // num_shards)
    starts = batch_size * (first + np.arange(steps)) + size * np.array(shards)[:, None]
    return order[np.minimum(starts[:, :, None] + np.arange(size), len(order) - 1)]


def _positions_and_weights(
    n: int | Step | np.int32, i: int | Step, batch_size: int, shard: int | Step, num_shards: int
) -> tuple[Int32[Array, "size"], PerImage]:
    """The positions of a shard of batch `i` in an epoch of `n` images, and their weights in the batch's mean."""
    size = -(-batch_size // num_shards)
    rows = shard * size + jnp.arange(size, dtype=jnp.int32)
    positions = i * batch_size + rows
    is_image = (rows < batch_size) & (positions < n)
    return positions, is_image.astype(jnp.float32) / jnp.minimum(batch_size, n - i * batch_size)


def check_pixel_type(dtype: np.dtype[Any]) -> None:
    """Raise `ValueError` for images that are not `u8[…]`: to divide others by 255 would be a guess."""
    if dtype != np.uint8:
        raise ValueError(
            f"images must be uint8, pixels from 0 to 255, got {dtype}; "
            "floating-point ones in [0, 1] go to train_step, eval_step, reconstruct or a model as they are"
        )


def normalise_on_host(images: HostImages) -> HostBatch:
    """`normalise` as a NumPy array."""
    return np.asarray(normalise(images))


@jit()
def normalise(images: Pixels) -> Batch:
    """Convert `u8[…]` to `f32[…]` in [0, 1]: `images / 255`, correctly rounded, as PyTorch's `ToTensor`.

    XLA turns a division by 255 into a multiplication by the rounded 1/255, which is off by one ulp for 126 of the 256
    values. So 1/255 is split: an 8-bit pixel times the 16 bits of `high` is exact, and adding `low` rounds once.

    Raises:
      ValueError: the images are not `u8`.

    >>> pixels = np.arange(256, dtype=np.uint8)
    >>> bool((ae_jax.normalise(pixels) == pixels / np.float32(255)).all())
    True
    """
    check_pixel_type(images.dtype)
    high = np.float32(round(2**23 / 255) / 2**23)
    low = np.float32(1 / 255 - float(high))
    pixels = jnp.asarray(images, jnp.float32)
    return pixels * high + pixels * low
