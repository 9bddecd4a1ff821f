import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.data.batching import ResidentBatches, pack


def indexed_images(n: int) -> np.ndarray:
    """Return `u8[n, 2, 2, 1]`, with the index of each image encoded in its first two pixels."""
    images = np.zeros((n, 2, 2, 1), np.uint8)
    images[:, 0, :, 0] = np.stack(np.divmod(np.arange(n), 256), axis=1)
    return images


def image_indices(batch: jax.Array) -> np.ndarray:
    high, low = np.round(255 * np.asarray(batch)[:, 0, :, 0]).astype(int).T
    return 256 * high + low


def test_normalise_equals_float32_division_by_255_also_under_jit() -> None:
    values = np.arange(256, dtype=np.uint8)
    expected = values.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(ae_jax.normalise(values), expected)
    inside = jax.jit(lambda values: jnp.maximum(ae_jax.normalise(values), 0))(values)
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


def test_packed_images_give_the_same_batches() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), np.uint8)
    order = jnp.asarray(np.random.default_rng(1).permutation(50))
    for i in range(2):
        packed, weights = ResidentBatches(pack(images), order).batch(i, 32)
        batch, expected_weights = ResidentBatches(images, order).batch(i, 32)
        np.testing.assert_array_equal(packed, batch)
        np.testing.assert_array_equal(weights, expected_weights)
