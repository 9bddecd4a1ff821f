"""Autoencoder architectures: the tutorial's linear and convolutional models, and its homework, a max-pooling variant.

Inputs and outputs are pixels in [0, 1]. With `output="tanh"` a model works in [-1, 1] internally, like a PyTorch model
that ends in `Tanh` and whose inputs pass through `Normalize(0.5, 0.5)`, and rescales its outputs to [0, 1].
`precision` is the dtype of the arithmetic only: parameters, latents and outputs are always float32.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Int32

from ae_jax.config import Activation, Arch, Output, Precision
from ae_jax.models.layers import Conv, ConvTranspose, activate, nonlinearity, to_logits, to_output_range
from ae_jax.ops.pooling import max_pool2d, max_unpool2d
from ae_jax.types import Images, Latents, Params, RandomKey


class _Autoencoder(nn.Module):
    """The attributes that all models have, and what they do alike."""

    latent_dim: int = 64
    output: Output = "sigmoid"
    precision: Precision = "float32"
    hidden: tuple[int, ...] = (16, 32)
    activation: Activation = "relu"

    _encode: ClassVar[Callable[..., Any]]  # of images in the range of the output activation
    _decode: ClassVar[Callable[..., jax.Array]]  # without the output activation

    def encode(self, images: Images) -> Any:
        """Encode `f32[batch, 28, 28, 1]` in [0, 1] → `f32[batch, latent_dim]`, with pooling `PooledCode`.

        `ValueError` for other shapes/dtypes.
        """
        _check("images", images, (28, 28, 1))
        return self._encode(to_output_range(images, self.output))

    def decode(self, code: Any) -> Images:
        """Decode the result of `encode` → `f32[batch, 28, 28, 1]` in [0, 1]; `ValueError` for other shapes/dtypes."""
        return activate(self._decode(code), self.output)

    def logits(self, images: Images) -> Images:
        """The logits of the reconstructions, whose sigmoid they are: `f32[batch, 28, 28, 1]`."""
        return to_logits(self._decode(self.encode(images)), self.output)

    def __call__(self, images: Images) -> Images:
        return self.decode(self.encode(images))


class LinearAutoencoder(_Autoencoder):
    """Fully connected autoencoder: 784 → 128 → 64 → 12 → 3 and back, ReLU between layers, sigmoid or tanh output.

    `hidden` are the widths between image and code, of any number, and `activation` follows each of these layers.
    """

    latent_dim: int = 3
    hidden: tuple[int, ...] = (128, 64, 12)

    def setup(self) -> None:
        dense = functools.partial(nn.Dense, dtype=self.precision)
        self.encoder = [dense(size) for size in (*self.hidden, self.latent_dim)]
        self.decoder = [dense(size) for size in (*reversed(self.hidden), 784)]

    def _encode(self, images: jax.Array) -> Latents:
        return _apply(self.encoder, images.reshape(-1, 784), self.activation).astype(jnp.float32)

    def _decode(self, latents: Latents) -> jax.Array:
        _check("latents", latents, (self.latent_dim,))
        return _apply(self.decoder, latents, self.activation).reshape(-1, 28, 28, 1)


class ConvAutoencoder(_Autoencoder):
    """Strided convolutions 28×28×1 → 14×14×16 → 7×7×32 → 1×1×64 and back, ReLU between, sigmoid or tanh output.

    `hidden` are the channels of the two layers between image and code, and `activation` follows them.
    """

    def setup(self) -> None:
        self.encoder, self.decoder = _conv_layers(self.hidden, self.latent_dim, self.precision, stride=2)

    def _encode(self, images: jax.Array) -> Latents:
        latents = _apply(self.encoder, images, self.activation).astype(jnp.float32)
        return latents.reshape(-1, self.latent_dim)

    def _decode(self, latents: Latents) -> jax.Array:
        _check("latents", latents, (self.latent_dim,))
        return _apply(self.decoder, latents.reshape(-1, 1, 1, self.latent_dim), self.activation)


class PooledCode(NamedTuple):
    """Code of a `ConvPoolAutoencoder`: `latents f32[batch, latent]`, and the `positions` of each pooling's maxima."""

    latents: Latents
    positions: tuple[Int32[Array, "batch 14 14 outer"], Int32[Array, "batch 7 7 inner"]]


class ConvPoolAutoencoder(_Autoencoder):
    """28×28×16 → pooled 14×14×16 → 14×14×32 → pooled 7×7×32 → 1×1×64 and back by unpooling, sigmoid or tanh output.

    `hidden` are the channels of the two layers between image and code, and `activation` follows them.
    """

    def setup(self) -> None:
        self.encoder, self.decoder = _conv_layers(self.hidden, self.latent_dim, self.precision, stride=1)

    def _encode(self, images: jax.Array) -> PooledCode:
        (first, second, last), act = self.encoder, nonlinearity(self.activation)
        x, outer = max_pool2d(act(first(images)))
        x, inner = max_pool2d(act(second(x)))
        return PooledCode(last(x).astype(jnp.float32).reshape(-1, self.latent_dim), (outer, inner))

    def _decode(self, code: PooledCode) -> jax.Array:
        latents, (outer, inner) = code
        _check("latents", latents, (self.latent_dim,))
        (first, second, last), act = self.decoder, nonlinearity(self.activation)
        x = max_unpool2d(act(first(latents.reshape(-1, 1, 1, self.latent_dim))), inner)
        return last(max_unpool2d(act(second(x)), outer))


Autoencoder: TypeAlias = LinearAutoencoder | ConvAutoencoder | ConvPoolAutoencoder

MODELS: dict[Arch, type[Autoencoder]] = {
    "conv": ConvAutoencoder,
    "linear": LinearAutoencoder,
    "conv-pool": ConvPoolAutoencoder,
}


def make_model(arch: Arch, **settings: Any) -> Autoencoder:
    """Build a model by name; `settings` are its attributes, None for the default."""
    return MODELS[arch](**{name: value for name, value in settings.items() if value is not None})


@functools.lru_cache
def param_shapes(model: nn.Module) -> Params:
    """The parameters of a model as `jax.ShapeDtypeStruct`s: nothing is computed, and a model is traced only once."""
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1), jnp.float32)))["params"]


def torch_init(model: nn.Module, key: RandomKey) -> Params:
    """Draw parameters from PyTorch's default initialisation: U(-1/√fan_in, 1/√fan_in) for weights **and** biases.

    This interval is that of `kaiming_uniform_(a=√5)`, which `nn.Linear` and `nn.Conv*d` use for their weights
    (torch/nn/modules/linear.py and conv.py, `reset_parameters`).

    Returns:
      `{"encoder_0": {"kernel": f32[…], "bias": f32[…]}, …}`, with the shapes of `model`.
    """
    shapes, params = param_shapes(model), {}
    for (name, layer), layer_key in zip(shapes.items(), jax.random.split(key, len(shapes)), strict=True):
        # All axes but the last, also of a transposed convolution: PyTorch counts its kernel's output channels there.
        bound = 1 / math.sqrt(math.prod(layer["kernel"].shape[:-1]))
        draw = functools.partial(jax.random.uniform, dtype=jnp.float32, minval=-bound, maxval=bound)
        kernel_key, bias_key = jax.random.split(layer_key)
        params[name] = {"kernel": draw(kernel_key, layer["kernel"].shape), "bias": draw(bias_key, layer["bias"].shape)}
    return params


def _conv_layers(
    hidden: tuple[int, ...], latent_dim: int, precision: Precision, *, stride: int
) -> tuple[list[Conv], list[ConvTranspose]]:
    """The layers of encoder and decoder; with a stride of 1, something else has to halve and double the image."""
    if len(hidden) != 2:
        raise ValueError(f"hidden must be the channels of two layers, not {hidden}")
    conv = functools.partial(Conv, dtype=precision, batch_minor=True)
    transpose = functools.partial(ConvTranspose, dtype=precision, batch_minor=True)
    first, second = hidden
    outer: dict[str, Any] = {"kernel_size": 3, "stride": stride, "padding": 1}
    encoder = [conv(first, **outer), conv(second, **outer), conv(latent_dim, kernel_size=7)]
    outer["output_padding"] = stride - 1
    return encoder, [transpose(second, kernel_size=7), transpose(first, **outer), transpose(1, **outer)]


def _apply(layers: Sequence[nn.Module], x: jax.Array, activation: Activation) -> jax.Array:
    *hidden, last = layers
    for layer in hidden:
        x = nonlinearity(activation)(layer(x))
    return last(x)


def _check(name: str, array: jax.Array | np.ndarray, expected: tuple[int, ...]) -> None:
    if array.shape[1:] != expected:
        shape = ", ".join(map(str, ("batch", *expected)))
        raise ValueError(f"{name} must have shape ({shape}), got {array.shape}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating-point, got {array.dtype}; convert pixels with ae_jax.to_float")
