"""Convolutions with PyTorch's meaning of stride, padding and output padding, on NHWC arrays, lowered per platform.

Three operations are one trilinear form, `sum(y · gather(x, kernel))`, seen from each of its arguments: `gather` is the
convolution, `spread` its adjoint in the image (the transposed convolution), `correlate` its adjoint in the kernel. So
the derivatives of each are the other two, and each platform's lowering says them in one file.

Derivatives are for reverse mode (`jax.grad`, `jax.vjp`, `jax.jacrev`), of any order; `jax.jvp` raises `TypeError`.
"""

import functools
from collections.abc import Callable

import jax
from jax import lax
from jaxtyping import Array, Float

from ae_jax.ops import conv_im2col, conv_xla
from ae_jax.ops.windows import Image, Kernel, Response, Windows


def conv2d(
    x: Float[Array, "n h w c_in"], kernel: Float[Array, "k_h k_w c_in c_out"], *, stride: int = 1, padding: int = 0
) -> Float[Array, "n h_out w_out c_out"]:
    """Convolve `f32[n, h, w, c_in]` (or another float type) as `torch.nn.functional.conv2d` does.

    ```
    h_out = (h + 2·padding - k_h) // stride + 1
    out[i] = Σ_u  x[stride·i + u - padding] · kernel[u]        (per axis; x is zero outside)
    ```

    >>> ae_jax.conv2d(jnp.zeros((5, 28, 28, 1)), jnp.zeros((3, 3, 1, 16)), stride=2, padding=1).shape
    (5, 14, 14, 16)
    """
    return _gather(x, kernel, Windows(x.shape[1:3], kernel.shape[:2], stride, padding))


def conv_transpose2d(
    x: Float[Array, "n h w c_in"],
    kernel: Float[Array, "k_h k_w c_out c_in"],
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
) -> Float[Array, "n h_out w_out c_out"]:
    """Spread `f32[n, h, w, c_in]` as `torch.nn.functional.conv_transpose2d` does: `conv2d`'s adjoint, same kernel.

    ```
    h_out = (h - 1)·stride - 2·padding + k_h + output_padding
    out[stride·i + u - padding] += kernel[u] · x[i]            (per axis)
    ```

    >>> x, kernel = jnp.zeros((5, 14, 14, 16)), jnp.zeros((3, 3, 1, 16))
    >>> ae_jax.conv_transpose2d(x, kernel, stride=2, padding=1, output_padding=1).shape
    (5, 28, 28, 1)
    """
    size = tuple(
        (n - 1) * stride - 2 * padding + k + output_padding for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)
    )
    return _spread(x, kernel, Windows(size, kernel.shape[:2], stride, padding))


@jax.custom_vjp
def add_bias(y: Response, bias: Float[Array, "c_out"]) -> Response:
    """`y + bias`, whose gradient on CPUs does not bring each pixel's channels together first."""
    return y + bias[None, None, None]


def _per_platform(name: str, *arrays: Array, **static: Windows) -> Array:
    def lowering(module: object) -> Callable[..., Array]:
        return functools.partial(getattr(module, name), **static)

    return lax.platform_dependent(*arrays, cpu=lowering(conv_im2col), default=lowering(conv_xla))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _gather(x: Image, kernel: Kernel, windows: Windows) -> Response:
    return _per_platform("gather", x, kernel, windows=windows)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _spread(y: Response, kernel: Kernel, windows: Windows) -> Image:
    return _per_platform("spread", y, kernel, windows=windows)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _correlate(x: Image, y: Response, windows: Windows) -> Kernel:
    return _per_platform("correlate", x, y, windows=windows)


def _keep(operation: Callable[..., Array]) -> Callable[..., tuple[Array, tuple[Array, Array]]]:
    return lambda a, b, windows: (operation(a, b, windows), (a, b))


_gather.defvjp(_keep(_gather), lambda windows, xk, y: (_spread(y, xk[1], windows), _correlate(xk[0], y, windows)))
_spread.defvjp(_keep(_spread), lambda windows, yk, x: (_gather(x, yk[1], windows), _correlate(x, yk[0], windows)))
_correlate.defvjp(
    _keep(_correlate), lambda windows, xy, kernel: (_spread(xy[1], kernel, windows), _gather(xy[0], kernel, windows))
)
add_bias.defvjp(lambda y, bias: (add_bias(y, bias), None), lambda _, y: (y, _per_platform("sum_pixels", y)))
