from pathlib import Path

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.data.batching import take_batch


def indexed_images(n: int) -> np.ndarray:
    """Return `u8[n, 2, 2, 1]`, with the index of each image encoded in its first two pixels."""
    images = np.zeros((n, 2, 2, 1), np.uint8)
    images[:, 0, :, 0] = np.stack(np.divmod(np.arange(n), 256), axis=1)
    return images


def image_indices(batch: jax.Array) -> np.ndarray:
    high, low = np.round(255 * np.asarray(batch)[:, 0, :, 0]).astype(int).T
    return 256 * high + low


def test_to_float_equals_float32_division_by_255_also_under_jit() -> None:
    values = np.arange(256, dtype=np.uint8)
    expected = values.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(ae_jax.to_float(values), expected)
    inside = jax.jit(lambda values: jnp.maximum(ae_jax.to_float(values), 0))(values)
    np.testing.assert_array_equal(inside, expected)


@pytest.mark.parametrize(("n", "batch_size", "sizes"), [(150, 64, [64, 64, 22]), (128, 64, [64, 64]), (5, 64, [5])])
def test_batches_contain_each_image_once_and_the_last_is_the_remainder(
    n: int, batch_size: int, sizes: list[int]
) -> None:
    batches = list(ae_jax.batches(indexed_images(n), jax.random.key(0), batch_size=batch_size))
    assert [len(batch) for batch in batches] == sizes
    assert {batch.dtype for batch in batches} == {jnp.dtype("float32")}
    order = np.concatenate([image_indices(batch) for batch in batches])
    assert sorted(order) == list(range(n))
    assert n == 5 or list(order) != list(range(n))


def test_shuffle_order_is_determined_by_the_key() -> None:
    def order(key: jax.Array | None) -> list[int]:
        return np.concatenate([image_indices(batch) for batch in ae_jax.batches(indexed_images(100), key)]).tolist()

    assert order(jax.random.key(1)) == order(jax.random.key(1))
    assert order(jax.random.key(1)) != order(jax.random.key(2))
    assert order(None) == list(range(100))


def test_batches_of_a_memory_map_are_those_of_the_array(own_images: Path, digits: np.ndarray) -> None:
    pairs = zip(ae_jax.batches(np.load(own_images, mmap_mode="r")), ae_jax.batches(digits), strict=True)
    for mapped, batch in pairs:
        np.testing.assert_array_equal(mapped, batch)


@pytest.mark.parametrize("num_shards", [1, 3])
def test_shards_are_the_batches_and_their_weights_a_mean(num_shards: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), np.uint8)
    order = jax.random.permutation(jax.random.key(0), 50)
    for i, rows in enumerate(np.split(np.asarray(order), [32])):
        shards = [take_batch(images, order, i, 32, shard, num_shards) for shard in range(num_shards)]
        batch, weights = (np.concatenate(each) for each in zip(*shards, strict=True))
        np.testing.assert_array_equal(batch[weights > 0], images[rows] / np.float32(255))
        np.testing.assert_array_equal(weights[weights > 0], np.float32(1) / np.float32(len(rows)))
