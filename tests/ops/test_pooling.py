import functools
from collections.abc import Callable

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax
from tests.support.arrays import random_array

max_pool2d, max_unpool2d = jax.jit(ae_jax.max_pool2d, static_argnums=1), jax.jit(ae_jax.max_unpool2d)


@pytest.mark.parametrize(("shape", "size"), [((5, 28, 28, 16), 2), ((1, 6, 9, 3), 3), ((2, 4, 4, 1), 1)])
def test_max_pool2d_values_and_gradients_match_flax(shape: tuple[int, ...], size: int) -> None:
    x = random_array(*shape)
    weights = random_array(shape[0], shape[1] // size, shape[2] // size, shape[3], seed=1)

    def flax(x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (size, size), strides=(size, size))

    def ours(x: jax.Array) -> jax.Array:
        return ae_jax.max_pool2d(x, size)[0]

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradient(pool: Callable[[jax.Array], jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, vjp = jax.vjp(pool, x)
        return y, vjp(weights)[0]

    for own, expected in zip(value_and_gradient(ours, x), value_and_gradient(flax, x), strict=True):
        np.testing.assert_array_equal(own, expected)


def test_positions_index_the_maxima_in_the_flattened_image() -> None:
    x = random_array(3, 8, 6, 2)
    y, positions = map(np.asarray, max_pool2d(x))
    flat = np.asarray(x).reshape(3, 48, 2)
    np.testing.assert_array_equal(np.take_along_axis(flat, positions.reshape(3, 12, 2), axis=1), y.reshape(3, 12, 2))


def test_ties_select_the_first_maximum_and_nan_counts_as_largest() -> None:
    x = np.array([[2.0, 2.0, 1.0, np.nan], [2.0, 0.0, 5.0, 7.0]], np.float32)[None, :, :, None]
    y, positions = max_pool2d(x)
    np.testing.assert_array_equal(np.ravel(y), [2.0, np.nan])
    np.testing.assert_array_equal(np.ravel(positions), [0, 3])


def test_max_unpool2d_restores_the_maxima_with_zeros_elsewhere() -> None:
    x = random_array(3, 8, 6, 2)
    y, positions = max_pool2d(x)
    back = np.asarray(max_unpool2d(y, positions))
    assert (back != 0).sum(axis=(1, 2)).tolist() == [[12, 12]] * 3  # one in each window
    np.testing.assert_array_equal(np.where(back != 0, x, 0), back)
    pooled_again, _ = max_pool2d(np.where(back != 0, back, -np.inf))
    np.testing.assert_array_equal(pooled_again, y)


def test_max_unpool2d_is_the_adjoint_of_max_pool2d() -> None:
    x = random_array(3, 8, 6, 2)
    (y, positions), vjp = jax.vjp(max_pool2d, x)
    g = random_array(*y.shape, seed=1)
    no_gradient = np.zeros(positions.shape, jax.dtypes.float0)
    np.testing.assert_array_equal(vjp((g, no_gradient))[0], max_unpool2d(g, positions))


@pytest.mark.parametrize("seed", range(3))
def test_max_pooling_and_unpooling_match_pytorch(seed: int) -> None:
    torch = pytest.importorskip("torch")
    x = np.maximum(np.asarray(random_array(2, 10, 6, 4, seed=seed)), 0)  # with ties at 0
    y, positions = max_pool2d(x)
    expected, found = torch.nn.functional.max_pool2d(torch.from_numpy(x).movedim(-1, 1), 2, return_indices=True)
    np.testing.assert_array_equal(y, expected.movedim(1, -1))
    np.testing.assert_array_equal(positions, found.movedim(1, -1))
    back = torch.nn.functional.max_unpool2d(expected, found, 2)
    np.testing.assert_array_equal(max_unpool2d(y, positions), back.movedim(1, -1))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named() -> None:
    x = jnp.zeros((2, 4, 6, 3))
    y, positions = max_pool2d(x)
    with pytest.raises(ValueError, match="must be multiples of the window size 2, got 3×6"):
        ae_jax.max_pool2d(x[:, :3])
    with pytest.raises(ValueError, match="size must be an integer of at least 1, not 0"):
        ae_jax.max_pool2d(x, 0)
    with pytest.raises(ValueError, match=r"x must be floating-point, with the axes .*, got float32\(4, 6, 3\)"):
        ae_jax.max_pool2d(x[0])
    with pytest.raises(ValueError, match=r"positions must be integers of the shape \(1, 2, 3, 3\), got int32\(2"):
        ae_jax.max_unpool2d(y[:1], positions)
    with pytest.raises(ValueError, match=r"positions must be integers of the shape .*, got float32"):
        ae_jax.max_unpool2d(y, np.zeros(positions.shape, np.float32))
