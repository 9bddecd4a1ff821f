"""Convolution, its adjoint and its kernel's gradient as XLA's own: the lowering for GPUs and TPUs."""

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from ae_jax.ops.windows import Image, Kernel, Response, Windows


def gather(x: Image, kernel: Kernel, windows: Windows) -> Response:
    """The convolution."""
    strides, pads = (windows.stride,) * 2, [(windows.padding,) * 2] * 2
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def spread(y: Response, kernel: Kernel, windows: Windows) -> Image:
    """Its adjoint in the image."""
    x = jax.ShapeDtypeStruct((y.shape[0], *windows.image, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: gather(x, kernel, windows), x)(y)[0]


def correlate(x: Image, y: Response, windows: Windows) -> Kernel:
    """Its adjoint in the kernel."""
    kernel = jax.ShapeDtypeStruct((*windows.kernel, x.shape[3], y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda kernel: gather(x, kernel, windows), kernel)(y)[0]


def sum_pixels(y: Response) -> Float[Array, "c_out"]:
    """The adjoint of adding a bias."""
    return jnp.sum(y, axis=(0, 1, 2))
