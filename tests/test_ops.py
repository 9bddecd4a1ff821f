import jax
import numpy as np
import pytest
from jax import numpy as jnp

from ae_jax import conv2d, conv_transpose2d

# height, width, kernel, stride, padding, output padding: the models' layers, then odder ones
CASES = [
    (28, 28, 3, 2, 1, 1),
    (14, 14, 3, 2, 1, 1),
    (7, 7, 7, 1, 0, 0),
    (5, 8, 3, 1, 0, 0),
    (5, 8, 4, 3, 2, 2),
    (6, 5, 2, 2, 0, 1),
]
ATOL = 2e-5  # float32 sums of up to 98 products of numbers around 1


def random_arrays(*shapes: tuple[int, ...]) -> list[jax.Array]:
    return [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]


def conv2d_by_definition(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> np.ndarray:
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    k = len(kernel)
    height, width = ((size - k) // stride + 1 for size in padded.shape[1:3])
    out = np.zeros((len(x), height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = padded[:, stride * i : stride * i + k, stride * j : stride * j + k]
            out[:, i, j] = np.einsum("nuvc,uvcd->nd", window, kernel)
    return out


def conv_transpose2d_by_definition(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int, output_padding: int
) -> np.ndarray:
    n, height, width, _ = x.shape
    k = len(kernel)
    full = np.zeros(
        (n, (height - 1) * stride + k + output_padding, (width - 1) * stride + k + output_padding, kernel.shape[2])
    )
    for i in range(height):
        for j in range(width):
            spread = np.einsum("nc,uvdc->nuvd", x[:, i, j], kernel)
            full[:, stride * i : stride * i + k, stride * j : stride * j + k] += spread
    return full[:, padding : full.shape[1] - padding, padding : full.shape[2] - padding]


@pytest.mark.parametrize(("height", "width", "k", "stride", "padding", "output_padding"), CASES)
def test_both_convolutions_are_their_definitions(
    height: int, width: int, k: int, stride: int, padding: int, output_padding: int
) -> None:
    x, kernel = random_arrays((3, height, width, 2), (k, k, 2, 4))
    forward = conv2d(x, kernel, stride=stride, padding=padding)
    np.testing.assert_allclose(forward, conv2d_by_definition(x, kernel, stride, padding), atol=ATOL)
    kernel = kernel.swapaxes(2, 3)
    spread = conv_transpose2d(x, kernel, stride=stride, padding=padding, output_padding=output_padding)
    expected = conv_transpose2d_by_definition(x, kernel, stride, padding, output_padding)
    np.testing.assert_allclose(spread, expected, atol=ATOL)


@pytest.mark.parametrize(("height", "width", "k", "stride", "padding", "output_padding"), CASES)
def test_transposed_convolution_is_the_adjoint(
    height: int, width: int, k: int, stride: int, padding: int, output_padding: int
) -> None:
    x, kernel = random_arrays((3, height, width, 2), (k, k, 4, 2))
    spread = conv_transpose2d(x, kernel, stride=stride, padding=padding, output_padding=output_padding)
    _, adjoint = jax.vjp(lambda y: conv2d(y, kernel, stride=stride, padding=padding), jnp.zeros(spread.shape))
    np.testing.assert_allclose(spread, adjoint(x)[0], atol=ATOL)
