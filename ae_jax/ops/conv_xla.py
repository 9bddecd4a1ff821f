"""Convolution, its adjoint and its kernel gradient as XLA convolutions: the lowering for GPUs and TPUs."""

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from ae_jax.ops.windows import Image, Kernel, Response, Windows


def convolve(x: Image, kernel: Kernel, windows: Windows) -> Response:
    """Convolve `x` with `kernel`."""
    strides, pads = (windows.stride,) * 2, [(windows.padding,) * 2] * 2
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def convolve_transposed(y: Response, kernel: Kernel, windows: Windows) -> Image:
    """Apply the adjoint of `convolve` in the image: the transposed convolution."""
    x = jax.ShapeDtypeStruct((y.shape[0], *windows.image, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: convolve(x, kernel, windows), x)(y)[0]


def kernel_gradient(x: Image, y: Response, windows: Windows) -> Kernel:
    """Apply the adjoint of `convolve` in the kernel."""
    kernel = jax.ShapeDtypeStruct((*windows.kernel, x.shape[3], y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda kernel: convolve(x, kernel, windows), kernel)(y)[0]


def bias_gradient(y: Response) -> Float[Array, "c_out"]:
    """Sum over batch and pixels: the adjoint of adding a bias."""
    return jnp.sum(y, axis=(0, 1, 2))
