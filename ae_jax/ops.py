"""Convolutions with PyTorch's meaning of stride, padding and output padding, on NHWC arrays."""

from jax import lax
from jaxtyping import Array, Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv2d(
    x: Float[Array, "n h w c_in"], kernel: Float[Array, "k_h k_w c_in c_out"], *, stride: int = 1, padding: int = 0
) -> Float[Array, "n h_out w_out c_out"]:
    """Convolve as `torch.nn.functional.conv2d` does.

    ```
    h_out = (h + 2·padding - k_h) // stride + 1
    out[i] = Σ_u  x[stride·i + u - padding] · kernel[u]        (per axis; x is zero outside)
    ```
    """
    return lax.conv_general_dilated(x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_LAYOUT)


def conv_transpose2d(
    x: Float[Array, "n h w c_in"],
    kernel: Float[Array, "k_h k_w c_in c_out"],
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
) -> Float[Array, "n h_out w_out c_out"]:
    """Spread as `torch.nn.functional.conv_transpose2d` does.

    ```
    h_out = (h - 1)·stride - 2·padding + k_h + output_padding
    out[stride·i + u - padding] += x[i] · kernel[u]            (per axis)
    ```

    This is the adjoint of `conv2d` with the same stride, padding and spatial kernel, its channel axes swapped. It is
    computed as a convolution of the input dilated by `stride` with the kernel turned around, whose padding is
    `k - 1 - padding` in front and `output_padding` more behind (Dumoulin & Visin 2016, arXiv:1603.07285, section 4).
    """
    pads = [(k - 1 - padding, k - 1 - padding + output_padding) for k in kernel.shape[:2]]
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), pads, lhs_dilation=(stride, stride), dimension_numbers=_LAYOUT
    )
