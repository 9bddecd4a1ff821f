"""Convolutional layers with PyTorch semantics and flax initialisation, and the output activations."""

from collections.abc import Callable
from typing import Any, TypeAlias, get_args

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from ae_jax.choices import Output
from ae_jax.ops.conv import add_bias, conv2d, conv_transpose2d
from ae_jax.ops.windows import Pair, as_pair, check_size
from ae_jax.types import Batch, FloatBatch

Initializer: TypeAlias = Callable[..., jax.Array]  # (key, shape, dtype), as in `flax.linen.initializers`
_lecun_normal = nn.initializers.lecun_normal()


class _ConvLayer(nn.Module):
    """The attributes that both layers have."""

    features: int
    kernel_size: int | Pair
    stride: int | Pair = 1
    padding: int | Pair = 0
    dilation: int | Pair = 1
    batch_minor: bool = False
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Initializer = _lecun_normal
    bias_init: Initializer = nn.initializers.zeros


class Conv(_ConvLayer):
    """`torch.nn.Conv2d` on NHWC images `f32[n, h, w, c]` of any size, fast on CPUs inside `jax.jit` and loops, too.

    Parameters are `kernel f32[k_h, k_w, c, features]` and `bias f32[features]`, initialised as those of flax's
    `nn.Conv`. `conv2d` has the formula.

    Attributes:
      features: channels of the result.
      kernel_size: height and width of the kernel; one number, or a pair `(vertical, horizontal)`, as the next three.
      stride: pixels between neighbouring windows.
      padding: zeros around the image, on each side.
      dilation: pixels between neighbouring taps of the kernel.
      batch_minor: on CPUs, compute with the batch as the minor axis: faster for a model of such layers in short
        batches, slower for a single layer.
      use_bias: whether there is a bias.
      dtype: of the computation and the result; None: the common type of images and parameters.
      param_dtype: of the parameters.
      kernel_init: initialises the kernel.
      bias_init: initialises the bias.

    Raises:
      ValueError: on application: settings, shapes or dtypes do not fit each other, or the result would be empty.

    >>> layer = ae_jax.Conv(16, kernel_size=3, stride=2, padding=1)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.zeros((5, 28, 28, 1)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((5, 14, 14, 16), (3, 3, 1, 16))
    """

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h_out w_out c_out"]:
        x, kernel, bias = _params(self, x, channel_axis=2)
        settings = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        y = conv2d(x, kernel, **settings, batch_minor=self.batch_minor)
        return y if bias is None else add_bias(y, bias)


class ConvTranspose(_ConvLayer):
    """`torch.nn.ConvTranspose2d` on NHWC images `f32[n, h, w, c]` of any size: the adjoint of `Conv`.

    Parameters are `kernel f32[k_h, k_w, features, c]` and `bias f32[features]`, initialised as those of flax's
    `nn.ConvTranspose(transpose_kernel=True)`, the variant that is an adjoint: fan-in counts `features`. If it counts
    `c`, the decoder's initial weights are so small that the test loss after the first epoch is 30 to 40 % higher
    (MNIST, two seeds). `conv_transpose2d` has the formula.

    Attributes:
      features: channels of the result.
      kernel_size: height and width of the kernel; one number, or a pair `(vertical, horizontal)`, as the next four.
      stride: pixels of the result between neighbouring pixels of the image.
      padding: pixels cropped from the result, on each side.
      output_padding: rows and columns added at the end, less than the larger of stride and dilation.
      dilation: pixels between neighbouring taps of the kernel.
      batch_minor, use_bias, dtype, param_dtype, kernel_init, bias_init: as for `Conv`, as are the errors.

    >>> layer = ae_jax.ConvTranspose(1, kernel_size=3, stride=2, padding=1, output_padding=1)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.zeros((5, 14, 14, 16)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((5, 28, 28, 1), (3, 3, 1, 16))
    """

    output_padding: int | Pair = 0

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h_out w_out c_out"]:
        x, kernel, bias = _params(self, x, channel_axis=3)
        settings = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        y = conv_transpose2d(x, kernel, output_padding=self.output_padding, **settings, batch_minor=self.batch_minor)
        return y if bias is None else add_bias(y, bias)


def to_output_range(images: FloatBatch, output: Output) -> Batch:
    """Rescale pixels in [0, 1] to the range of the output activation."""
    images = jnp.asarray(images)
    return 2 * images - 1 if _is_tanh(output) else images


def activate(logits: jax.Array, output: Output) -> jax.Array:
    """Apply the output activation in float32 and rescale the result to [0, 1]."""
    logits = logits.astype(jnp.float32)
    return (jnp.tanh(logits) + 1) / 2 if _is_tanh(output) else nn.sigmoid(logits)


def _is_tanh(output: Output) -> bool:
    if output not in get_args(Output):
        raise ValueError(f"unknown output {output!r}; choose {get_args(Output)}")
    return output == "tanh"


def _params(layer: _ConvLayer, x: jax.Array, channel_axis: int) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """The images, the kernel, whose `channel_axis` is theirs, and the bias, in the dtype of the computation."""
    size, channels = as_pair("kernel_size", layer.kernel_size, at_least=1), x.shape[-1]
    check_size("features", layer.features)
    initialised: jax.Array | None = nn.meta.unbox(layer.variables.get("params", {})).get("kernel")
    if initialised is not None and channels != initialised.shape[channel_axis]:
        raise ValueError(f"x has {channels} channels, but the kernel is for {initialised.shape[channel_axis]}")
    shape = (*size, channels, layer.features) if channel_axis == 2 else (*size, layer.features, channels)
    kernel = layer.param("kernel", layer.kernel_init, shape, layer.param_dtype)
    bias = layer.param("bias", layer.bias_init, (layer.features,), layer.param_dtype) if layer.use_bias else None
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=layer.dtype)
    return x, kernel, bias
