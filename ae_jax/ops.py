"""Convolutions with PyTorch's meaning of stride, padding and output padding, on NHWC arrays, fast on every platform.

Three operations are one trilinear form, the sum over all pixels of `y · gather(x, kernel)`, seen from each of its
arguments: `gather` is the convolution, `spread` its adjoint (the transposed convolution), `correlate` the kernel's
gradient. So the derivatives of each are the other two, and whatever is faster for one platform is written once for each.

- GPUs and TPUs run XLA's convolution.
- On a CPU, XLA's convolution falls into a naive loop wherever it is strided in its gradient, dilated, or inside a loop.
  There the three are matrix products on columns, one for each window (im2col; Chellapilla, Puri & Simard 2006), with the
  batch as the minor axis: all that is copied lies in runs of whole batches. XLA assigns the layouts of the elementwise
  operations in between so that nothing is transposed from layer to layer.

Derivatives are for reverse mode (`jax.grad`, `jax.vjp`, `jax.jacrev`), of any order; `jax.jvp` raises `TypeError`.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

Image: TypeAlias = Float[Array, "n h w c"]
Response: TypeAlias = Float[Array, "n h_out w_out c_out"]  # y
Kernel: TypeAlias = Float[Array, "k_h k_w c c_out"]
BatchMinor: TypeAlias = Float[Array, "c h w n"]
Columns: TypeAlias = Float[Array, "taps windows"]  # k_h·k_w·c rows; a column for each window of each image


def conv2d(
    x: Float[Array, "n h w c_in"], kernel: Float[Array, "k_h k_w c_in c_out"], *, stride: int = 1, padding: int = 0
) -> Float[Array, "n h_out w_out c_out"]:
    """Convolve as `torch.nn.functional.conv2d` does.

    ```
    h_out = (h + 2·padding - k_h) // stride + 1
    out[i] = Σ_u  x[stride·i + u - padding] · kernel[u]        (per axis; x is zero outside)
    ```
    """
    return _gather(x, kernel, _Windows(x.shape[1:3], kernel.shape[:2], stride, padding))


def conv_transpose2d(
    x: Float[Array, "n h w c_in"],
    kernel: Float[Array, "k_h k_w c_out c_in"],
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
) -> Float[Array, "n h_out w_out c_out"]:
    """Spread as `torch.nn.functional.conv_transpose2d` does: the adjoint of `conv2d` with the same kernel.

    ```
    h_out = (h - 1)·stride - 2·padding + k_h + output_padding
    out[stride·i + u - padding] += kernel[u] · x[i]            (per axis)
    ```
    """
    size = tuple(
        (n - 1) * stride - 2 * padding + k + output_padding for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)
    )
    return _spread(x, kernel, _Windows(size, kernel.shape[:2], stride, padding))


class _Windows(NamedTuple):
    """Where a kernel lies on an image: window `i` covers the pixels `stride·i - padding + u`, `0 <= u < kernel`."""

    image: tuple[int, ...]  # height and width of the convolution's input
    kernel: tuple[int, ...]
    stride: int
    padding: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Windows down and across: the size of the convolution's output."""
        sizes = zip(self.image, self.kernel, strict=True)
        return tuple((n + 2 * self.padding - k) // self.stride + 1 for n, k in sizes)

    @property
    def is_whole_image(self) -> bool:
        """There is one window, and it is the image: the layer is a dense one."""
        return self.image == self.kernel and self.padding == 0


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _gather(x: Image, kernel: Kernel, windows: _Windows) -> Response:
    return lax.platform_dependent(
        x, kernel, cpu=lambda x, k: _gather_columns(x, k, windows), default=lambda x, k: _gather_xla(x, k, windows)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _spread(y: Response, kernel: Kernel, windows: _Windows) -> Image:
    return lax.platform_dependent(
        y, kernel, cpu=lambda y, k: _spread_columns(y, k, windows), default=lambda y, k: _spread_xla(y, k, windows)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _correlate(x: Image, y: Response, windows: _Windows) -> Kernel:
    return lax.platform_dependent(
        x, y, cpu=lambda x, y: _correlate_columns(x, y, windows), default=lambda x, y: _correlate_xla(x, y, windows)
    )


def _with_arguments(operation: Callable[..., Array]) -> Callable[..., tuple[Array, tuple[Array, Array]]]:
    return lambda a, b, windows: (operation(a, b, windows), (a, b))


_gather.defvjp(
    _with_arguments(_gather),
    lambda windows, xk, y: (_spread(y, xk[1], windows), _correlate(xk[0], y, windows)),
)
_spread.defvjp(
    _with_arguments(_spread),
    lambda windows, yk, x: (_gather(x, yk[1], windows), _correlate(x, yk[0], windows)),
)
_correlate.defvjp(
    _with_arguments(_correlate),
    lambda windows, xy, kernel: (_spread(xy[1], kernel, windows), _gather(xy[0], kernel, windows)),
)


def _gather_xla(x: Image, kernel: Kernel, windows: _Windows) -> Response:
    strides, pads = (windows.stride,) * 2, [(windows.padding,) * 2] * 2
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _spread_xla(y: Response, kernel: Kernel, windows: _Windows) -> Image:
    x = jax.ShapeDtypeStruct((len(y), *windows.image, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _gather_xla(x, kernel, windows), x)(y)[0]


def _correlate_xla(x: Image, y: Response, windows: _Windows) -> Kernel:
    kernel = jax.ShapeDtypeStruct((*windows.kernel, x.shape[3], y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda kernel: _gather_xla(x, kernel, windows), kernel)(y)[0]


def _gather_columns(x: Image, kernel: Kernel, windows: _Windows) -> Response:
    matrix = kernel.reshape(-1, kernel.shape[3])
    if windows.is_whole_image:
        return (x.reshape(len(x), -1) @ matrix)[:, None, None]
    y = _matmul(matrix, _to_columns(_batch_minor(x), windows), contract=(0, 0))
    return _batch_major(y.reshape(-1, *windows.counts, len(x)))


def _spread_columns(y: Response, kernel: Kernel, windows: _Windows) -> Image:
    matrix = kernel.reshape(-1, kernel.shape[3])
    columns = _matmul(matrix, _batch_minor(y).reshape(y.shape[3], -1), contract=(1, 0))
    return _batch_major(_from_columns(columns, kernel.shape[2], len(y), windows))


def _correlate_columns(x: Image, y: Response, windows: _Windows) -> Kernel:
    columns = _to_columns(_batch_minor(x), windows)
    matrix = _matmul(columns, _batch_minor(y).reshape(y.shape[3], -1), contract=(1, 1))
    return matrix.reshape(*windows.kernel, x.shape[3], y.shape[3])


def _to_columns(x: BatchMinor, windows: _Windows) -> Columns:
    """The pixels under each window, one column a window and image (im2col)."""
    c, _, _, n = x.shape
    if windows.is_whole_image:
        return x.transpose(1, 2, 0, 3).reshape(-1, n)
    down, across = (list(_seen(windows, axis)) for axis in (0, 1))
    stride = (1, windows.stride, windows.stride, 1)
    taps = [
        lax.pad(
            lax.slice(x, (0, i, j, 0), (c, i_end, j_end, n), stride), _zero(x), ((0, 0, 0), rows, columns, (0, 0, 0))
        )
        for i, i_end, rows in down
        for j, j_end, columns in across
    ]
    return jnp.concatenate(taps).reshape(len(taps) * c, -1)


def _seen(windows: _Windows, axis: int) -> Iterator[tuple[int, int, tuple[int, int, int]]]:
    """For each tap the range of pixels that it sees, and how many windows before and after see the padding instead."""
    size, count, stride = windows.image[axis], windows.counts[axis], windows.stride
    for u in range(windows.kernel[axis]):
        offset = u - windows.padding
        first = max(0, -(offset // stride))
        end = max(first, min(count, (size - 1 - offset) // stride + 1))
        pixel = min(size, stride * first + offset)
        yield pixel, max(pixel, stride * (end - 1) + offset + 1), (first, count - end, 0)


def _from_columns(columns: Columns, c: int, n: int, windows: _Windows) -> BatchMinor:
    """Add each column up where its window lies (col2im), the adjoint of `_to_columns`.

    Pixels at the same place between two strides see the same taps: each of these phases is a sum of shifted arrays.
    """
    (k_h, k_w), stride = windows.kernel, windows.stride
    taps = columns.reshape(k_h, k_w, c, *windows.counts, n)
    if windows.is_whole_image:
        return taps[:, :, :, 0, 0].transpose(2, 0, 1, 3)
    sizes = [-(-size // stride) for size in windows.image]

    def phase(row: int, column: int) -> Float[Array, "c h_phase w_phase n"]:
        total = jnp.zeros((c, *sizes, n), columns.dtype)
        for u, down in _shifts(windows, 0, row):
            for v, across in _shifts(windows, 1, column):
                total += lax.pad(taps[u, v], _zero(taps), [(0, 0, 0), down, across, (0, 0, 0)])
        return total

    rows = [jnp.stack([phase(row, column) for column in range(stride)], axis=3) for row in range(stride)]
    x = jnp.stack(rows, axis=2).reshape(c, stride * sizes[0], stride * sizes[1], n)
    return x[:, : windows.image[0], : windows.image[1]]


def _shifts(windows: _Windows, axis: int, phase: int) -> list[tuple[int, tuple[int, int, int]]]:
    """The taps that the pixels `stride·q + phase` see, and how to pad (crop) windows so that they come to lie at `q`."""
    size, count = -(-windows.image[axis] // windows.stride), windows.counts[axis]
    shifts = []
    for u in range(windows.kernel[axis]):
        shift, rest = divmod(phase + windows.padding - u, windows.stride)  # pixel q lies under window q + shift
        if rest == 0:
            shifts.append((u, (-shift, size + shift - count, 0)))
    return shifts


def _batch_minor(x: Image) -> BatchMinor:
    return x.transpose(3, 1, 2, 0)


def _batch_major(x: BatchMinor) -> Image:
    return x.transpose(3, 1, 2, 0)


def _matmul(a: Array, b: Array, *, contract: tuple[int, int]) -> Array:
    return lax.dot_general(a, b, (((contract[0],), (contract[1],)), ((), ())))


def _zero(x: Array) -> Array:
    return jnp.zeros((), x.dtype)
