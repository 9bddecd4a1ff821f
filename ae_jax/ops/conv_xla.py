"""Convolution, its adjoint and its kernel gradient as XLA convolutions: the lowering for GPUs and TPUs."""

import jax
from jax import lax

from ae_jax.ops.windows import Image, Kernel, Response, Windows


def convolve(x: Image, kernel: Kernel, windows: Windows) -> Response:
    """Convolve `x` with `kernel`."""
    pads, layouts = [(padding, padding) for padding in windows.padding], ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, windows.stride, pads, rhs_dilation=windows.dilation, dimension_numbers=layouts
    )


def convolve_transposed(y: Response, kernel: Kernel, windows: Windows) -> Image:
    """Apply the adjoint of `convolve` in the image: the transposed convolution."""
    x = jax.typeof(y).update(shape=(y.shape[0], *windows.image, kernel.shape[2]))
    return jax.linear_transpose(lambda x: convolve(x, kernel, windows), x)(y)[0]


def kernel_gradient(x: Image, y: Response, windows: Windows) -> Kernel:
    """Apply the adjoint of `convolve` in the kernel."""
    kernel = jax.typeof(x).update(shape=(*windows.kernel, x.shape[3], y.shape[3]))
    return jax.linear_transpose(lambda kernel: convolve(x, kernel, windows), kernel)(y)[0]
