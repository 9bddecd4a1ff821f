"""Autoencoder architectures: the tutorial's linear and convolutional models, and its homework, a max-pooling variant.

Inputs and outputs are pixels in [0, 1]. With `output="tanh"` a model works in [-1, 1] internally, like a PyTorch model
that ends in `Tanh` and whose inputs pass through `Normalize(0.5, 0.5)`, and rescales its outputs to [0, 1].
`precision` is the dtype of the arithmetic only: parameters, latents and outputs are always float32.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Int32

from ae_jax.config import Arch, Output, Precision
from ae_jax.models.layers import Conv, ConvTranspose, activate, to_output_range
from ae_jax.ops.pooling import max_pool2d, max_unpool2d
from ae_jax.types import Images, Latents, Params, RandomKey


class LinearAutoencoder(nn.Module):
    """Fully connected autoencoder: 784 → 128 → 64 → 12 → 3 and back, ReLU between layers, sigmoid or tanh output."""

    latent_dim: int = 3
    output: Output = "sigmoid"
    precision: Precision = "float32"

    def setup(self) -> None:
        dense = functools.partial(nn.Dense, dtype=self.precision)
        self.encoder = [dense(128), dense(64), dense(12), dense(self.latent_dim)]
        self.decoder = [dense(12), dense(64), dense(128), dense(784)]

    def encode(self, images: Images) -> Latents:
        """Encode `f32[batch, 28, 28, 1]` in [0, 1] → `f32[batch, latent_dim]`; `ValueError` for other shapes/dtypes."""
        _check("images", images, (28, 28, 1))
        return _apply(self.encoder, to_output_range(images, self.output).reshape(-1, 784)).astype(jnp.float32)

    def decode(self, latents: Latents) -> Images:
        """Decode `f32[batch, latent_dim]` → `f32[batch, 28, 28, 1]` in [0, 1]; `ValueError` for other shapes/dtypes."""
        _check("latents", latents, (self.latent_dim,))
        return activate(_apply(self.decoder, latents), self.output).reshape(-1, 28, 28, 1)

    def __call__(self, images: Images) -> Images:
        return self.decode(self.encode(images))


class ConvAutoencoder(nn.Module):
    """Strided convolutions 28×28×1 → 14×14×16 → 7×7×32 → 1×1×64 and back, ReLU between, sigmoid or tanh output."""

    latent_dim: int = 64
    output: Output = "sigmoid"
    precision: Precision = "float32"

    def setup(self) -> None:
        self.encoder, self.decoder = _conv_layers(self.latent_dim, self.precision, stride=2)

    def encode(self, images: Images) -> Latents:
        """Encode `f32[batch, 28, 28, 1]` in [0, 1] → `f32[batch, latent_dim]`; `ValueError` for other shapes/dtypes."""
        _check("images", images, (28, 28, 1))
        latents = _apply(self.encoder, to_output_range(images, self.output)).astype(jnp.float32)
        return latents.reshape(-1, self.latent_dim)

    def decode(self, latents: Latents) -> Images:
        """Decode `f32[batch, latent_dim]` → `f32[batch, 28, 28, 1]` in [0, 1]; `ValueError` for other shapes/dtypes."""
        _check("latents", latents, (self.latent_dim,))
        return activate(_apply(self.decoder, latents.reshape(-1, 1, 1, self.latent_dim)), self.output)

    def __call__(self, images: Images) -> Images:
        return self.decode(self.encode(images))


class PooledCode(NamedTuple):
    """Code of a `ConvPoolAutoencoder`: `latents f32[batch, latent]`, and the `positions` of each pooling's maxima."""

    latents: Latents
    positions: tuple[Int32[Array, "batch 14 14 16"], Int32[Array, "batch 7 7 32"]]


class ConvPoolAutoencoder(nn.Module):
    """28×28×16 → pooled 14×14×16 → 14×14×32 → pooled 7×7×32 → 1×1×64 and back by unpooling, sigmoid or tanh output."""

    latent_dim: int = 64
    output: Output = "sigmoid"
    precision: Precision = "float32"

    def setup(self) -> None:
        self.encoder, self.decoder = _conv_layers(self.latent_dim, self.precision, stride=1)

    def encode(self, images: Images) -> PooledCode:
        """Encode `f32[batch, 28, 28, 1]` in [0, 1] → latents and positions; `ValueError` for other shapes/dtypes."""
        _check("images", images, (28, 28, 1))
        first, second, last = self.encoder
        x, outer = max_pool2d(nn.relu(first(to_output_range(images, self.output))))
        x, inner = max_pool2d(nn.relu(second(x)))
        return PooledCode(last(x).astype(jnp.float32).reshape(-1, self.latent_dim), (outer, inner))

    def decode(self, code: PooledCode) -> Images:
        """Decode the result of `encode` → `f32[batch, 28, 28, 1]` in [0, 1]; `ValueError` for other shapes/dtypes."""
        latents, (outer, inner) = code
        _check("latents", latents, (self.latent_dim,))
        first, second, last = self.decoder
        x = max_unpool2d(nn.relu(first(latents.reshape(-1, 1, 1, self.latent_dim))), inner)
        x = max_unpool2d(nn.relu(second(x)), outer)
        return activate(last(x), self.output)

    def __call__(self, images: Images) -> Images:
        return self.decode(self.encode(images))


Autoencoder: TypeAlias = LinearAutoencoder | ConvAutoencoder | ConvPoolAutoencoder

MODELS: dict[Arch, type[Autoencoder]] = {
    "conv": ConvAutoencoder,
    "linear": LinearAutoencoder,
    "conv-pool": ConvPoolAutoencoder,
}


def make_model(
    arch: Arch, latent_dim: int | None = None, output: Output = "sigmoid", precision: Precision = "float32"
) -> Autoencoder:
    """Build a model by name; `latent_dim` None: its default, 3 for linear and 64 for the others."""
    size: dict[str, Any] = {} if latent_dim is None else {"latent_dim": latent_dim}
    return MODELS[arch](output=output, precision=precision, **size)


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


def _conv_layers(latent_dim: int, precision: Precision, *, stride: int) -> tuple[list[Conv], list[ConvTranspose]]:
    """The layers of encoder and decoder; with a stride of 1, something else has to halve and double the image."""
    conv = functools.partial(Conv, dtype=precision, batch_minor=True)
    transpose = functools.partial(ConvTranspose, dtype=precision, batch_minor=True)
    outer: dict[str, Any] = {"kernel_size": 3, "stride": stride, "padding": 1}
    encoder = [conv(16, **outer), conv(32, **outer), conv(latent_dim, kernel_size=7)]
    outer["output_padding"] = stride - 1
    return encoder, [transpose(32, kernel_size=7), transpose(16, **outer), transpose(1, **outer)]


def _apply(layers: Sequence[nn.Module], x: jax.Array) -> jax.Array:
    *hidden, last = layers
    for layer in hidden:
        x = nn.relu(layer(x))
    return last(x)


def _check(name: str, array: jax.Array | np.ndarray, expected: tuple[int, ...]) -> None:
    if array.shape[1:] != expected:
        shape = ", ".join(map(str, ("batch", *expected)))
        raise ValueError(f"{name} must have shape ({shape}), got {array.shape}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating-point, got {array.dtype}; convert pixels with ae_jax.to_float")
