"""Convolutional layers with PyTorch semantics and flax initialisation, and the output activations."""

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from ae_jax.choices import Output, Precision
from ae_jax.ops.conv import add_bias, conv2d, conv_transpose2d
from ae_jax.types import Batch, HostBatch


class Conv(nn.Module):
    """`torch.nn.Conv2d` on NHWC: kernel `f32[k, k, in, features]`, bias `f32[features]`, initialised as `nn.Conv`."""

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    dtype: Precision = "float32"  # of the computation and the result, as in flax's own layers

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h_out w_out c_out"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return add_bias(conv2d(x, kernel, stride=self.stride, padding=self.padding), bias)


class ConvTranspose(nn.Module):
    """`torch.nn.ConvTranspose2d` on NHWC: kernel `f32[k, k, features, in]`, bias `f32[features]`.

    Initialised as `nn.ConvTranspose(transpose_kernel=True)`, flax's variant that is an adjoint: fan-in counts
    `features`. If it counts `in`, the decoder's initial weights are so small that the test loss after the first epoch
    is 30 to 40 % higher (MNIST, two seeds).
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    dtype: Precision = "float32"  # of the computation and the result, as in flax's own layers

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h_out w_out c_out"]:
        shape = (self.kernel_size, self.kernel_size, self.features, x.shape[-1])
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv_transpose2d(x, kernel, stride=self.stride, padding=self.padding, output_padding=self.output_padding)
        return add_bias(y, bias)


def to_output_range(images: Batch | HostBatch, output: Output) -> Batch:
    """Rescale pixels in [0, 1] to the range of the output activation."""
    images = jnp.asarray(images)
    return images if output == "sigmoid" else 2 * images - 1


def activate(logits: jax.Array, output: Output) -> jax.Array:
    """Apply the output activation in float32 and rescale the result to [0, 1]."""
    logits = logits.astype(jnp.float32)
    return nn.sigmoid(logits) if output == "sigmoid" else (jnp.tanh(logits) + 1) / 2
