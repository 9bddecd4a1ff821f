"""Max pooling with indices, and max unpooling, with PyTorch semantics on NHWC arrays.

For fixed positions, gathering the values there and scattering them back are linear and each other's adjoint, so the
gradient of each is the other. Internally the batch is the minor axis, as in `conv_im2col`: copies move whole batches.
"""

from collections.abc import Iterator
from typing import TypeAlias

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int32

from ae_jax.ops.primitives import LinearPrimitive
from ae_jax.ops.windows import Image, swap_batch

Pooled: TypeAlias = Float[Array, "n h_out w_out c"]
Positions: TypeAlias = Int32[Array, "n h_out w_out c"]  # row · w + column in the image


def max_pool2d(x: Image, size: int = 2) -> tuple[Pooled, Positions]:
    """Maximum of each `size` × `size` window and its position, as PyTorch's `max_pool2d(…, return_indices=True)`.

    Windows do not overlap. Of equal maxima the first in row-major order counts, and NaN counts as the largest. The
    gradient flows to the maxima alone.

    Returns:
      `f32[n, h / size, w / size, c]`, and as `i32` of that shape the positions, `row · w + column` in the image.

    Raises:
      ValueError: `x` has other axes, or height or width is not a multiple of `size`.

    >>> values, positions = ae_jax.max_pool2d(jnp.array([[1.0, 2.0], [4.0, 3.0]])[None, :, :, None])
    >>> float(values[0, 0, 0, 0]), int(positions[0, 0, 0, 0])
    (4.0, 2)
    """
    _check("x", x, size)
    if x.shape[1] % size or x.shape[2] % size:
        raise ValueError(f"height and width must be multiples of the window size {size}, got {x.shape[1]}×{x.shape[2]}")
    positions = _argmax(lax.stop_gradient(x), size)
    return _gather(x, positions, size), positions


def max_unpool2d(y: Pooled, positions: Positions, size: int = 2) -> Image:
    """Place each value at its position from `max_pool2d`, zeros elsewhere, as `torch.nn.functional.max_unpool2d`.

    `h = size · h_out`. Values with a position outside their own window, which `max_pool2d` never returns, are dropped.

    Raises:
      ValueError: `y` has other axes, or `positions` another shape or no integers.

    >>> ae_jax.max_unpool2d(jnp.array([[[[4.0]]]]), jnp.array([[[[2]]]], jnp.int32))[0, :, :, 0].tolist()
    [[0.0, 0.0], [4.0, 0.0]]
    """
    _check("y", y, size)
    if positions.shape != y.shape or not jnp.issubdtype(positions.dtype, jnp.integer):
        raise ValueError(f"positions must be integers of the shape {y.shape}, got {positions.dtype}{positions.shape}")
    return _scatter(y, positions, size)


def _check(name: str, array: jax.Array, size: int) -> None:
    if array.ndim != 4 or not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating-point, with the axes (n, h, w, c), got {array.dtype}{array.shape}")
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be an integer of at least 1, not {size!r}")


def _argmax(x: Image, size: int) -> Positions:
    h, w = x.shape[1:3]
    pixels = swap_batch(x)
    largest = jnp.full_like(pixels[:, ::size, ::size], -jnp.inf)
    found = jnp.zeros_like(largest, jnp.int32)  # distance from the window's first pixel, in the flattened image
    for u in range(size):
        for v in range(size):
            tap = pixels[:, u::size, v::size]
            is_larger = (tap > largest) | jnp.isnan(tap)
            largest, found = jnp.where(is_larger, tap, largest), jnp.where(is_larger, u * w + v, found)
    _, _, first = next(_taps(h, w, size))
    return swap_batch(first + found)


def _gather_in_windows(x: Image, positions: Positions, size: int) -> Pooled:
    pixels, found = swap_batch(x), swap_batch(positions)
    y = jnp.zeros(found.shape, x.dtype)
    for u, v, here in _taps(x.shape[1], x.shape[2], size):
        y = jnp.where(found == here, pixels[:, u::size, v::size], y)
    return swap_batch(y)


def _scatter_in_windows(y: Pooled, positions: Positions, size: int) -> Image:
    n, h_out, w_out, c = y.shape
    values, found = swap_batch(y), swap_batch(positions)
    h, w = size * h_out, size * w_out
    taps = [jnp.where(found == here, values, 0) for _, _, here in _taps(h, w, size)]
    rows = [jnp.stack(taps[u * size : (u + 1) * size], axis=3) for u in range(size)]
    return swap_batch(jnp.stack(rows, axis=2).reshape(c, h, w, n))


def _taps(h: int, w: int, size: int) -> Iterator[tuple[int, int, Int32[Array, "1 h_out w_out 1"]]]:
    """Each row and column inside a window, with the positions of its pixel in all windows of an `h` × `w` image."""
    plane = jnp.arange(h * w, dtype=jnp.int32).reshape(h, w)
    for u in range(size):
        for v in range(size):
            yield u, v, plane[None, u::size, v::size, None]


_gather = LinearPrimitive("gather_maxima", lambda x, positions, size: positions, _gather_in_windows)
_scatter = LinearPrimitive(
    "scatter_maxima", lambda y, _, size: (y[0], size * y[1], size * y[2], y[3]), _scatter_in_windows
)
_gather.define_adjoints((_scatter, lambda y, positions: (y, positions)))
_scatter.define_adjoints((_gather, lambda x, positions: (x, positions)))
