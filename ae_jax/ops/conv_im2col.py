"""Convolution, its adjoint and its kernel gradient as matrix products (im2col): the lowering for CPUs.

On CPUs, XLA runs the gradients of a convolution as naive loops, and in some versions any convolution inside a loop.
Here the pixels of each window become a column of a matrix (im2col; Chellapilla, Puri & Simard 2006). The batch is the
minor axis, so that every copy moves contiguous runs of whole batches, and XLA chooses the layouts of the elementwise
operations between two layers such that nothing is transposed there.
"""

from typing import TypeAlias

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from ae_jax.ops.windows import BatchMinor, Image, Kernel, Response, Windows, swap_batch

Columns: TypeAlias = Float[Array, "taps windows"]  # k_h·k_w·c rows, one column per window of each image


def convolve(x: Image, kernel: Kernel, windows: Windows) -> Response:
    """Convolve `x` with `kernel`."""
    matrix = kernel.reshape(-1, kernel.shape[3])
    if windows.is_whole_image:
        return (x.reshape(x.shape[0], matrix.shape[0]) @ matrix)[:, None, None]
    y = _matmul(matrix, _im2col(swap_batch(x), windows), contract=(0, 0))
    return swap_batch(y.reshape(kernel.shape[3], *windows.counts, x.shape[0]))


def convolve_transposed(y: Response, kernel: Kernel, windows: Windows) -> Image:
    """Apply the adjoint of `convolve` in the image: the transposed convolution."""
    matrix = kernel.reshape(-1, kernel.shape[3])
    columns = _matmul(matrix, swap_batch(y).reshape(y.shape[3], -1), contract=(1, 0), exact=True)
    return swap_batch(_col2im(columns, kernel.shape[2], windows).astype(y.dtype))


def kernel_gradient(x: Image, y: Response, windows: Windows) -> Kernel:
    """Apply the adjoint of `convolve` in the kernel."""
    columns = _im2col(swap_batch(x), windows)
    matrix = _matmul(columns, swap_batch(y).reshape(y.shape[3], -1), contract=(1, 1))
    return matrix.reshape(*windows.kernel, x.shape[3], y.shape[3])


def _im2col(x: BatchMinor, windows: Windows) -> Columns:
    c, h, w, n = x.shape
    if windows.is_whole_image:
        return x.transpose(1, 2, 0, 3).reshape(h * w * c, n)
    down, across = windows.pad_to_windows(0), windows.pad_to_windows(1)
    padded = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), down, across, (0, 0, 0)))
    rows, columns = ((count - 1) * stride + 1 for count, stride in zip(windows.counts, windows.stride, strict=True))
    taps = [
        lax.slice(padded, (0, u, v, 0), (c, u + rows, v + columns, n), (1, *windows.stride, 1))
        for u in range(0, windows.extent(0), windows.dilation[0])
        for v in range(0, windows.extent(1), windows.dilation[1])
    ]
    return jnp.concatenate(taps).reshape(len(taps) * c, -1)


def _col2im(columns: Columns, c: int, windows: Windows) -> BatchMinor:
    """Add each column to its window's pixels, the adjoint of `_im2col`.

    Pixels of one phase (equal remainder modulo the stride) receive the same taps: a phase is a sum of shifted arrays.
    """
    taps = columns.reshape(*windows.kernel, c, *windows.counts, -1)
    if windows.is_whole_image:
        return taps[:, :, :, 0, 0].transpose(2, 0, 1, 3)
    zero, sizes = jnp.zeros((), columns.dtype), (windows.phase_size(0), windows.phase_size(1))

    def phase(row: int, column: int) -> BatchMinor:
        total = jnp.zeros((c, *sizes, taps.shape[-1]), columns.dtype)
        for u, down in windows.shifts(0, row):
            for v, across in windows.shifts(1, column):
                total += lax.pad(taps[u, v], zero, ((0, 0, 0), down, across, (0, 0, 0)))
        return total

    height, width = windows.stride
    rows = [jnp.stack([phase(row, column) for column in range(width)], axis=3) for row in range(height)]
    x = jnp.stack(rows, axis=2).reshape(c, height * sizes[0], width * sizes[1], -1)
    return x[:, : windows.image[0], : windows.image[1]]


def _matmul(a: Array, b: Array, *, contract: tuple[int, int], exact: bool = False) -> Array:
    """Multiply matrices; `exact` keeps at least float32, for products that are added further."""
    dtype = jnp.promote_types(a.dtype, jnp.float32) if exact else None
    return lax.dot_general(a, b, (((contract[0],), (contract[1],)), ((), ())), preferred_element_type=dtype)
