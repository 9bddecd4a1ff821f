"""Convolution and transposed convolution with PyTorch semantics on NHWC arrays, differentiable in both modes.

Convolution is bilinear in image and kernel. `_convolve_transposed` is its adjoint in the image, `_kernel_gradient` its
adjoint in the kernel, so each one's adjoints are the other two. On GPUs and TPUs all three are XLA's convolutions, on
CPUs they are `conv_im2col` wherever that is faster.
"""

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from ae_jax.ops import conv_im2col
from ae_jax.ops.primitives import LinearPrimitive
from ae_jax.ops.windows import Image, Kernel, Pair, Response, Setting, Windows, as_pair


def conv2d(
    x: Image,
    kernel: Kernel,
    *,
    stride: Setting = 1,
    padding: Setting = 0,
    dilation: Setting = 1,
    batch_minor: bool = False,
) -> Response:
    """Convolve `x f32[n, h, w, c]` with `kernel f32[k_h, k_w, c, c_out]` as `torch.nn.functional.conv2d` does.

    ```
    h_out = (h + 2·padding - dilation·(k_h - 1) - 1) // stride + 1
    out[i] = Σ_u  x[stride·i - padding + dilation·u] · kernel[u]        (per axis; x is zero outside)
    ```

    Settings are one number or `(vertical, horizontal)`, and the dtype may be another float type. With `batch_minor`,
    CPUs compute with the batch as the minor axis: faster for a model of such layers in short batches, slower for a
    single layer.

    Returns:
      `f32[n, h_out, w_out, c_out]`.

    Raises:
      ValueError: shapes, dtypes or settings do not fit each other, or the result would be empty.

    >>> ae_jax.conv2d(jnp.zeros((5, 28, 28, 1)), jnp.zeros((3, 3, 1, 16)), stride=2, padding=1).shape
    (5, 14, 14, 16)
    """
    _check_arrays(x, kernel, "(k_h, k_w, c, c_out)", channel_axis=2)
    windows = _windows((x.shape[1], x.shape[2]), kernel, stride, padding, dilation, batch_minor)
    if min(windows.counts) < 1:
        extents, padded = [windows.extent(axis) for axis in (0, 1)], [windows.padded(axis) for axis in (0, 1)]
        raise ValueError(f"the result would be empty: the kernel spans {extents} pixels, the padded image {padded}")
    return _convolve(x, kernel, windows)


def conv_transpose2d(
    x: Float[Array, "n h w c_in"],
    kernel: Float[Array, "k_h k_w c_out c_in"],
    *,
    stride: Setting = 1,
    padding: Setting = 0,
    output_padding: Setting = 0,
    dilation: Setting = 1,
    batch_minor: bool = False,
) -> Float[Array, "n h_out w_out c_out"]:
    """Transposed convolution as `torch.nn.functional.conv_transpose2d`: the adjoint of `conv2d`, whose settings it has.

    ```
    h_out = (h - 1)·stride - 2·padding + dilation·(k_h - 1) + output_padding + 1
    out[stride·i - padding + dilation·u] += kernel[u] · x[i]            (per axis)
    ```

    From `x f32[n, h, w, c_in]` and `kernel f32[k_h, k_w, c_out, c_in]` to `f32[n, h_out, w_out, c_out]`. Padding crops
    the result; output padding, which is less than the larger of stride and dilation, adds rows and columns at its end.
    Errors as for `conv2d`.

    >>> x, kernel = jnp.zeros((5, 14, 14, 16)), jnp.zeros((3, 3, 1, 16))
    >>> ae_jax.conv_transpose2d(x, kernel, stride=2, padding=1, output_padding=1).shape
    (5, 28, 28, 1)
    """
    _check_arrays(x, kernel, "(k_h, k_w, c_out, c_in)", channel_axis=3)
    windows = _windows((0, 0), kernel, stride, padding, dilation, batch_minor)
    extra = as_pair("output_padding", output_padding, at_least=0)
    if any(more >= max(limits) for more, *limits in zip(extra, windows.stride, windows.dilation, strict=True)):
        raise ValueError(f"output_padding must be less than the larger of stride and dilation, not {output_padding}")
    h, w = (
        (x.shape[1 + axis] - 1) * windows.stride[axis] - 2 * windows.padding[axis] + windows.extent(axis) + extra[axis]
        for axis in (0, 1)
    )
    if min(x.shape[1:3]) < 1 or min(h, w) < 1:
        raise ValueError(f"the result would be empty: {h}×{w} pixels from {x.shape[1]}×{x.shape[2]}")
    below, beside = (more // step for more, step in zip(extra, windows.stride, strict=True))
    if below or beside:  # the result has room for further windows
        x = jnp.pad(x, ((0, 0), (0, below), (0, beside), (0, 0)))
    return _convolve_transposed(x, kernel, windows._replace(image=(h, w)))


def add_bias(y: Response, bias: Float[Array, "c_out"]) -> Response:
    """Compute `y + bias`. As the broadcast is a product with ones, so is its gradient, which is fast on CPUs."""
    n, h, w, _ = y.shape
    ones = jnp.ones((h, w, n), y.dtype)
    return y + lax.dot_general(ones, bias, (((), ()), ((), ()))).transpose(2, 0, 1, 3)


def _convolve_by_xla(x: Image, kernel: Kernel, windows: Windows) -> Response:
    pads, layouts = [(padding, padding) for padding in windows.padding], ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, windows.stride, pads, rhs_dilation=windows.dilation, dimension_numbers=layouts
    )


def _convolve_transposed_by_xla(y: Response, kernel: Kernel, windows: Windows) -> Image:
    x = jax.typeof(y).update(shape=(y.shape[0], *windows.image, kernel.shape[2]))
    return jax.linear_transpose(lambda x: _convolve_by_xla(x, kernel, windows), x)(y)[0]


def _kernel_gradient_by_xla(x: Image, y: Response, windows: Windows) -> Kernel:
    kernel = jax.typeof(x).update(shape=(*windows.kernel, x.shape[3], y.shape[3]))
    return jax.linear_transpose(lambda kernel: _convolve_by_xla(x, kernel, windows), kernel)(y)[0]


def _convolve_on_cpu(x: Image, kernel: Kernel, windows: Windows) -> Response:
    """Convolve with XLA if that is fast on CPUs: several channels, and no layout to keep."""
    if windows.batch_minor or windows.is_whole_image or x.shape[3] == 1:
        return conv_im2col.convolve(x, kernel, windows)
    return _convolve_by_xla(x, kernel, windows)


def _convolve_transposed_on_cpu(y: Response, kernel: Kernel, windows: Windows) -> Image:
    """Apply the adjoint: with stride 1, the forward convolution with the kernel turned by 180°."""
    if windows.batch_minor or windows.is_whole_image or 1 in kernel.shape[2:] or windows.stride != (1, 1):
        return conv_im2col.convolve_transposed(y, kernel, windows)
    padding = (windows.extent(0) - 1 - windows.padding[0], windows.extent(1) - 1 - windows.padding[1])
    turned = windows._replace(image=windows.counts, padding=padding)
    return _convolve_by_xla(y, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), turned)


_convolve = LinearPrimitive(
    "convolve",
    lambda x, kernel, windows: (x[0], *windows.counts, kernel[3]),
    _convolve_by_xla,
    on_cpu=_convolve_on_cpu,
    factors=((-4, -4), (-1, -1)),
)
_convolve_transposed = LinearPrimitive(
    "convolve_transposed",
    lambda y, kernel, windows: (y[0], *windows.image, kernel[2]),
    _convolve_transposed_by_xla,
    on_cpu=_convolve_transposed_on_cpu,
    factors=((-4, -4), (-2, -1)),
)
_kernel_gradient = LinearPrimitive(
    "kernel_gradient",
    lambda x, y, windows: (*windows.kernel, x[3], y[3]),
    _kernel_gradient_by_xla,
    on_cpu=conv_im2col.kernel_gradient,
    factors=((-1, -2), (-1, -1)),
)
_convolve.define_adjoints(
    (_convolve_transposed, lambda y, kernel: (y, kernel)), (_kernel_gradient, lambda y, x: (x, y))
)
_convolve_transposed.define_adjoints(
    (_convolve, lambda x, kernel: (x, kernel)), (_kernel_gradient, lambda x, y: (x, y))
)
_kernel_gradient.define_adjoints(
    (_convolve_transposed, lambda kernel, y: (y, kernel)), (_convolve, lambda kernel, x: (x, kernel))
)


def _check_arrays(x: jax.Array, kernel: jax.Array, kernel_axes: str, channel_axis: int) -> None:
    for name, array, axes in (("x", x, "(n, h, w, c)"), ("kernel", kernel, kernel_axes)):
        if array.ndim != 4:
            raise ValueError(f"{name} must have the axes {axes}, got shape {array.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.dtype != kernel.dtype:
        raise ValueError(f"x and kernel must have the same floating-point dtype, got {x.dtype} and {kernel.dtype}")
    if x.shape[3] != kernel.shape[channel_axis]:
        raise ValueError(f"x has {x.shape[3]} channels, but kernel {kernel_axes} is for {kernel.shape[channel_axis]}")


def _windows(
    image: Pair, kernel: Kernel, stride: Setting, padding: Setting, dilation: Setting, batch_minor: bool
) -> Windows:
    steps, zeros = as_pair("stride", stride, at_least=1), as_pair("padding", padding, at_least=0)
    gaps = as_pair("dilation", dilation, at_least=1)
    return Windows(image, (kernel.shape[0], kernel.shape[1]), steps, zeros, gaps, batch_minor)
