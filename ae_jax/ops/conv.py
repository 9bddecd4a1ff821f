"""Convolution and transposed convolution with PyTorch semantics on NHWC arrays, lowered per platform.

Convolution is bilinear in image and kernel. `_convolve_transposed` is its adjoint in the image, `_kernel_gradient` its
adjoint in the kernel, so each one's derivatives are the other two. `conv_im2col` and `conv_xla` are the lowerings.

Only reverse-mode derivatives (`jax.grad`, `jax.vjp`, `jax.jacrev`) exist, of any order; `jax.jvp` raises `TypeError`.
"""

import functools
from collections.abc import Callable

import jax
from jax import lax
from jaxtyping import Array, Float

from ae_jax.ops import conv_im2col, conv_xla
from ae_jax.ops.windows import Image, Kernel, Response, Windows


def conv2d(x: Image, kernel: Kernel, *, stride: int = 1, padding: int = 0) -> Response:
    """Convolve `f32[n, h, w, c]` (or another float type) as `torch.nn.functional.conv2d` does.

    ```
    h_out = (h + 2·padding - k_h) // stride + 1
    out[i] = Σ_u  x[stride·i + u - padding] · kernel[u]        (per axis; x is zero outside)
    ```

    >>> ae_jax.conv2d(jnp.zeros((5, 28, 28, 1)), jnp.zeros((3, 3, 1, 16)), stride=2, padding=1).shape
    (5, 14, 14, 16)
    """
    return _convolve(x, kernel, Windows(x.shape[1:3], kernel.shape[:2], stride, padding))


def conv_transpose2d(
    x: Float[Array, "n h w c_in"],
    kernel: Float[Array, "k_h k_w c_out c_in"],
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
) -> Float[Array, "n h_out w_out c_out"]:
    """Transposed convolution of `f32[n, h, w, c_in]` as `torch.nn.functional.conv_transpose2d`: adjoint of `conv2d`.

    ```
    h_out = (h - 1)·stride - 2·padding + k_h + output_padding
    out[stride·i + u - padding] += kernel[u] · x[i]            (per axis)
    ```

    >>> x, kernel = jnp.zeros((5, 14, 14, 16)), jnp.zeros((3, 3, 1, 16))
    >>> ae_jax.conv_transpose2d(x, kernel, stride=2, padding=1, output_padding=1).shape
    (5, 28, 28, 1)
    """
    sizes = zip(x.shape[1:3], kernel.shape[:2], strict=True)
    size = tuple((n - 1) * stride - 2 * padding + k + output_padding for n, k in sizes)
    return _convolve_transposed(x, kernel, Windows(size, kernel.shape[:2], stride, padding))


@jax.custom_vjp
def add_bias(y: Response, bias: Float[Array, "c_out"]) -> Response:
    """Compute `y + bias`; on CPUs its gradient avoids a transpose of `y`."""
    return y + bias[None, None, None]


def _per_platform(name: str, *arrays: Array, **static: Windows) -> Array:
    cpu, default = (functools.partial(getattr(module, name), **static) for module in (conv_im2col, conv_xla))
    return lax.platform_dependent(*arrays, cpu=cpu, default=default)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Image, kernel: Kernel, windows: Windows) -> Response:
    return _per_platform("convolve", x, kernel, windows=windows)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_transposed(y: Response, kernel: Kernel, windows: Windows) -> Image:
    return _per_platform("convolve_transposed", y, kernel, windows=windows)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernel_gradient(x: Image, y: Response, windows: Windows) -> Kernel:
    return _per_platform("kernel_gradient", x, y, windows=windows)


def _forward(operation: Callable[..., Array]) -> Callable[..., tuple[Array, tuple[Array, Array]]]:
    """The forward pass of a custom VJP, whose residuals are both arguments."""
    return lambda a, b, windows: (operation(a, b, windows), (a, b))


_convolve.defvjp(
    _forward(_convolve),
    lambda windows, xk, y: (_convolve_transposed(y, xk[1], windows), _kernel_gradient(xk[0], y, windows)),
)
_convolve_transposed.defvjp(
    _forward(_convolve_transposed),
    lambda windows, yk, x: (_convolve(x, yk[1], windows), _kernel_gradient(x, yk[0], windows)),
)
_kernel_gradient.defvjp(
    _forward(_kernel_gradient),
    lambda windows, xy, kernel: (_convolve_transposed(xy[1], kernel, windows), _convolve(xy[0], kernel, windows)),
)
add_bias.defvjp(lambda y, bias: (add_bias(y, bias), None), lambda _, y: (y, _per_platform("bias_gradient", y)))
