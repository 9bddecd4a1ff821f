"""Convolutional layers with PyTorch semantics and flax initialisation, and activations."""

from collections.abc import Callable
from typing import Any, TypeAlias, get_args

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from ae_jax.config import Activation, Output
from ae_jax.ops.conv import add_bias, conv2d, conv_transpose2d
from ae_jax.ops.windows import Pair, Setting, as_pair
from ae_jax.types import Images

Initializer: TypeAlias = Callable[..., jax.Array]  # (key, shape, dtype), as in `flax.linen.initializers`


class _ConvLayer(nn.Module):
    """The attributes that both layers have, and what they do alike."""

    features: int
    kernel_size: Setting
    stride: Setting = 1
    padding: Setting = 0
    dilation: Setting = 1
    batch_minor: bool = False
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros

    def _convolve(self, function: Callable[..., jax.Array], x: jax.Array, channels: Pair, **settings: Any) -> jax.Array:
        size = as_pair("kernel_size", self.kernel_size, at_least=1)
        kernel = self.param("kernel", self.kernel_init, (*size, *channels), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        settings |= {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        y = function(x, kernel, **settings, batch_minor=self.batch_minor)
        return y if bias is None else add_bias(y, bias)


class Conv(_ConvLayer):
    """`torch.nn.Conv2d` on NHWC images `f32[n, h, w, c]` of any size, fast on CPUs inside `jax.jit` and loops, too.

    Parameters are `kernel f32[k_h, k_w, c, features]` and `bias f32[features]`, initialised as those of flax's
    `nn.Conv`. `conv2d` has the formula.

    Attributes:
      features: channels of the result.
      kernel_size: height and width of the kernel: one number, or a pair.
      stride, padding, dilation, batch_minor: as for `conv2d`.
      use_bias, dtype, param_dtype, kernel_init, bias_init: as for flax's `nn.Conv`.

    Raises:
      ValueError: on application: settings, axes or dtypes do not fit each other, or the result would be empty.

    >>> layer = ae_jax.Conv(16, kernel_size=3, stride=2, padding=1)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.zeros((5, 28, 28, 1)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((5, 14, 14, 16), (3, 3, 1, 16))
    """

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h_out w_out c_out"]:
        return self._convolve(conv2d, x, (x.shape[-1], self.features))


class ConvTranspose(_ConvLayer):
    """`torch.nn.ConvTranspose2d` on NHWC images `f32[n, h, w, c]` of any size: the adjoint of `Conv`.

    Parameters are `kernel f32[k_h, k_w, features, c]` and `bias f32[features]`, initialised as those of flax's
    `nn.ConvTranspose(transpose_kernel=True)`, the variant that is an adjoint: fan-in counts `features`. If it counts
    `c`, the decoder's initial weights are so small that the test loss after the first epoch is 30 to 40 % higher
    (MNIST, two seeds). `conv_transpose2d` has the formula.

    Attributes:
      stride, padding, output_padding, dilation, batch_minor: as for `conv_transpose2d`.
      features, kernel_size, use_bias, dtype, param_dtype, kernel_init, bias_init: as for `Conv`, as are the errors.

    >>> layer = ae_jax.ConvTranspose(1, kernel_size=3, stride=2, padding=1, output_padding=1)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.zeros((5, 14, 14, 16)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((5, 28, 28, 1), (3, 3, 1, 16))
    """

    output_padding: Setting = 0

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h_out w_out c_out"]:
        channels = self.features, x.shape[-1]
        return self._convolve(conv_transpose2d, x, channels, output_padding=self.output_padding)


def to_output_range(images: Images, output: Output) -> jax.Array:
    """Rescale pixels in [0, 1] to the range of the output activation."""
    images = jnp.asarray(images)
    return 2 * images - 1 if _is_tanh(output) else images


def nonlinearity(activation: Activation) -> Callable[[jax.Array], jax.Array]:
    """The function of an activation's name."""
    if activation not in get_args(Activation):
        raise ValueError(f"unknown activation {activation!r}; choose {get_args(Activation)}")
    return jnp.tanh if activation == "tanh" else nn.relu


def activate(y: jax.Array, output: Output) -> jax.Array:
    """Apply the output activation to the last layer's result in float32, and rescale it to [0, 1]."""
    y = y.astype(jnp.float32)
    return (jnp.tanh(y) + 1) / 2 if _is_tanh(output) else nn.sigmoid(y)


def to_logits(y: jax.Array, output: Output) -> jax.Array:
    """The logits, `log(x / (1 - x))`, of `x = activate(y, output)`: (tanh(y) + 1) / 2 is the sigmoid of 2y."""
    y = y.astype(jnp.float32)
    return 2 * y if _is_tanh(output) else y


def _is_tanh(output: Output) -> bool:
    if output not in get_args(Output):
        raise ValueError(f"unknown output {output!r}; choose {get_args(Output)}")
    return output == "tanh"
