"""Mini-batches of an epoch: shuffling, slicing, and pixels as floats in [0, 1].

A batch is any pytree of arrays with one leading axis: that of the examples.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Int32

from ae_jax.types import Batch, Images, Order, PerExample, Pixels, RandomKey, Step


def batches(data: Batch, key: RandomKey | None = None, batch_size: int = 64) -> Iterator[Batch]:
    """Iterate over one epoch of `data` in mini-batches, shuffled by `key` or, without one, in their order.

    Of a memory map, only the examples of a batch are read at a time.

    Args:
      data: a pytree of arrays with one leading axis, that of the examples, such as images `u8[n, 28, 28, 1]` or
        `(images, labels)`; all of them are shuffled and sliced alike.
      key: for the shuffle.
      batch_size: examples per batch; the last batch may be smaller.

    Yields:
      Batches of the structure of `data`. Leaves that are `u8` become `f32` in [0, 1], labels of that dtype too: make
      those `i32`. Other leaves keep their values.

    Raises:
      ValueError: there are no examples, a leaf has another number of them, or `batch_size` is no integer above 0.

    >>> images = np.zeros((150, 28, 28, 1), np.uint8)
    >>> [batch.shape[0] for batch in ae_jax.batches(images, jax.random.key(0), batch_size=64)]
    [64, 64, 22]
    """
    n = num_examples(data)
    order = np.arange(n) if key is None else np.asarray(epoch_order(key, n))
    starts = np.cumsum(batch_sizes(n, batch_size))[:-1]
    for rows in np.split(order, starts):
        yield as_floats(jax.tree.map(lambda leaf, rows=rows: leaf[rows], data))


def num_examples(data: Batch) -> int:
    """The length of the leading axis of every leaf; `ValueError` names a leaf that has none, or another one."""
    sizes = {}
    for path, leaf in jax.tree.leaves_with_path(data):
        name = f"batch{jax.tree_util.keystr(path)}"
        if not getattr(leaf, "shape", ()):
            raise ValueError(f"{name} must be an array with one entry per example, not a {type(leaf).__name__}")
        sizes[name] = leaf.shape[0]
    (first, n), *others = sizes.items() or [("", 0)]
    if n == 0:
        raise ValueError("the batch is empty")
    for name, size in others:
        if size != n:
            raise ValueError(f"the leaves of a batch differ in length: {n} examples in {first}, {size} in {name}")
    return n


def as_floats(batch: Batch) -> Batch:
    """Convert the `u8` leaves of a batch to `f32` in [0, 1]; the others only become arrays of JAX."""
    return jax.tree.map(lambda leaf: to_float(leaf) if leaf.dtype == np.uint8 else jnp.asarray(leaf), batch)


@functools.partial(jax.jit, static_argnames="n")
def epoch_order(key: RandomKey, n: int) -> Order:
    """A random permutation `i32[n]`: the order in which an epoch visits `n` examples."""
    check_key(key)
    return jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32))


def batch_sizes(n: int, batch_size: int) -> Int32[np.ndarray, "steps"]:
    """The number of examples in each batch; only the last may be smaller than `batch_size`. Errors as `batches`."""
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ValueError(f"batch_size must be an integer of at least 1, not {batch_size!r}")
    size = min(n, int(batch_size))
    starts = np.arange(0, n, size, dtype=np.int32)
    return np.minimum(n - starts, size)


def take_batch(
    data: Batch, order: Order, i: int | Step, batch_size: int, shard: int | Step = 0, num_shards: int = 1
) -> tuple[Batch, PerExample]:
    """Batch `i` of an epoch, or one of its `num_shards` equal shards, padded to the full size.

    The epoch visits the `n` examples of `data` in the order i32[n]. The results are the `ceil(batch_size / num_shards)`
    examples, as from `as_floats`, and the weight of each in the mean over the whole batch: 1 / (examples in the batch),
    or 0 for padding.
    """
    size, n = -(-batch_size // num_shards), len(order)
    rows = shard * size + jnp.arange(size, dtype=jnp.int32)
    positions = i * batch_size + rows
    is_example = (rows < batch_size) & (positions < n)
    weights = is_example.astype(jnp.float32) / jnp.minimum(batch_size, n - i * batch_size)
    indices = order.at[positions].get(mode="clip")
    return as_floats(jax.tree.map(lambda leaf: jnp.asarray(leaf)[indices], data)), weights


def check_key(key: RandomKey) -> None:
    """Raise `ValueError` for what is no random key, such as an integer."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == jnp.uint32):
        raise ValueError(f"key must be a random key, such as jax.random.key(0), not {key!r}")


def check_pixel_type(dtype: np.dtype[Any]) -> None:
    """Raise `ValueError` for images that are not `u8[…]`: other dtypes have no known range."""
    if dtype != np.uint8:
        raise ValueError(
            f"images must be uint8, pixels from 0 to 255, got {dtype}; "
            "a batch of floating-point ones in [0, 1] needs no conversion"
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
