"""Comparison of what different programs compute in float32."""

import numpy as np

# Of the largest number. Float32 rounds to 6e-8 of a number; sums of up to 1,568 products, each program's in an order of
# its own, through eight layers have differed by 1.1e-6 in latent codes and by 5.5e-6 in images, where a decoder
# amplifies what its codes differ by. It is four times that, for processors with other vector instructions.
_TOLERANCE = 2e-5


def assert_equal_but_for_rounding(found: np.ndarray, expected: np.ndarray) -> None:
    """Assert that two arrays have the same dtype and differ by little of the largest number; integers by nothing."""
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=_TOLERANCE * np.abs(expected).max())
