"""Autoencoder architectures: the tutorial's linear and convolutional models, and its homework, a max-pooling variant.

Inputs and outputs are pixels in [0, 1]. With `output="tanh"` a model works in [-1, 1] internally, like a PyTorch model
that ends in `Tanh` and whose inputs pass through `Normalize(0.5, 0.5)`, and rescales its outputs to [0, 1].
`precision` is the dtype of the arithmetic only: parameters, latents and outputs are always float32.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Int32

from ae_jax.choices import Arch, Output, Precision
from ae_jax.models.layers import Conv, ConvTranspose, activate, to_output_range
from ae_jax.ops.pooling import max_pool2d, max_unpool2d
from ae_jax.types import Images, Latents, Params


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
        conv = functools.partial(Conv, dtype=self.precision, batch_minor=True)
        transpose = functools.partial(ConvTranspose, dtype=self.precision, batch_minor=True)
        self.encoder = [
            conv(16, kernel_size=3, stride=2, padding=1),
            conv(32, kernel_size=3, stride=2, padding=1),
            conv(self.latent_dim, kernel_size=7),
        ]
        self.decoder = [
            transpose(32, kernel_size=7),
            transpose(16, kernel_size=3, stride=2, padding=1, output_padding=1),
            transpose(1, kernel_size=3, stride=2, padding=1, output_padding=1),
        ]

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
        conv = functools.partial(Conv, dtype=self.precision, batch_minor=True)
        transpose = functools.partial(ConvTranspose, dtype=self.precision, batch_minor=True)
        self.encoder = [
            conv(16, kernel_size=3, padding=1),
            conv(32, kernel_size=3, padding=1),
            conv(self.latent_dim, kernel_size=7),
        ]
        self.decoder = [
            transpose(32, kernel_size=7),
            transpose(16, kernel_size=3, padding=1),
            transpose(1, kernel_size=3, padding=1),
        ]

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


Code: TypeAlias = Latents | PooledCode
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


def _apply(layers: Sequence[nn.Module], x: jax.Array) -> jax.Array:
    *hidden, last = layers
    for layer in hidden:
        x = nn.relu(layer(x))
    return last(x)


def _check(name: str, array: jax.Array, expected: tuple[int, ...]) -> None:
    if array.shape[1:] != expected or array.ndim != len(expected) + 1:
        shape = ", ".join(map(str, ("batch", *expected)))
        raise ValueError(f"{name} must have shape ({shape}), got {array.shape}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating-point, got {array.dtype}; convert pixels with ae_jax.normalise")
