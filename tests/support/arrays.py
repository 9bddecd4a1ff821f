"""Random arrays, and the distance of two results."""

import jax
import numpy as np
from jax import numpy as jnp


def random_array(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def relative_difference(actual: object, expected: object) -> float:
    """The largest difference between two pytrees of arrays, relative to the largest entry of `expected`.

    Of sums in another order, or of products with and without FMA, that is some units of the last place (6e-8 each).
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    pairs = [(np.asarray(x), np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (actual, expected)), strict=True)]
    assert [x.shape for x, _ in pairs] == [y.shape for _, y in pairs]
    difference = max(np.abs(x - y).max(initial=0) for x, y in pairs)
    return float(difference / max(np.abs(y).max(initial=1e-30) for _, y in pairs))
