"""The two autoencoders of the tutorial, layer by layer."""

from collections.abc import Sequence

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from ae_jax.ops import add_bias, conv2d, conv_transpose2d
from ae_jax.types import Images, Latents


class LinearAutoencoder(nn.Module):
    """784 → 128 → 64 → 12 → 3 and back, ReLU between the layers, a sigmoid at the end."""

    latent_dim: int = 3

    def setup(self) -> None:
        self.encoder = [nn.Dense(128), nn.Dense(64), nn.Dense(12), nn.Dense(self.latent_dim)]
        self.decoder = [nn.Dense(12), nn.Dense(64), nn.Dense(128), nn.Dense(784)]

    def encode(self, images: Images) -> Latents:
        """`f32[batch, 28, 28, 1]` in [0, 1] → `f32[batch, latent_dim]`; `ValueError` for any other shape or type."""
        _check("images", images, (28, 28, 1))
        return _apply(self.encoder, images.reshape(len(images), 784))

    def decode(self, latents: Latents) -> Images:
        """`f32[batch, latent_dim]` → `f32[batch, 28, 28, 1]` in [0, 1]; `ValueError` for any other shape or type."""
        _check("latents", latents, (self.latent_dim,))
        return nn.sigmoid(_apply(self.decoder, latents)).reshape(len(latents), 28, 28, 1)

    def __call__(self, images: Images) -> Images:
        return self.decode(self.encode(images))


class ConvAutoencoder(nn.Module):
    """28×28×1 → 14×14×16 → 7×7×32 → 1×1×64 and back, ReLU between the layers, a sigmoid at the end."""

    latent_dim: int = 64

    def setup(self) -> None:
        self.encoder = [
            Conv(16, kernel_size=3, stride=2, padding=1),
            Conv(32, kernel_size=3, stride=2, padding=1),
            Conv(self.latent_dim, kernel_size=7),
        ]
        self.decoder = [
            ConvTranspose(32, kernel_size=7),
            ConvTranspose(16, kernel_size=3, stride=2, padding=1, output_padding=1),
            ConvTranspose(1, kernel_size=3, stride=2, padding=1, output_padding=1),
        ]

    def encode(self, images: Images) -> Latents:
        """`f32[batch, 28, 28, 1]` in [0, 1] → `f32[batch, latent_dim]`; `ValueError` for any other shape or type."""
        _check("images", images, (28, 28, 1))
        return _apply(self.encoder, images).reshape(len(images), self.latent_dim)

    def decode(self, latents: Latents) -> Images:
        """`f32[batch, latent_dim]` → `f32[batch, 28, 28, 1]` in [0, 1]; `ValueError` for any other shape or type."""
        _check("latents", latents, (self.latent_dim,))
        return nn.sigmoid(_apply(self.decoder, latents.reshape(len(latents), 1, 1, self.latent_dim)))

    def __call__(self, images: Images) -> Images:
        return self.decode(self.encode(images))


class Conv(nn.Module):
    """`torch.nn.Conv2d` on NHWC: kernel `f32[k, k, in, features]`, bias `f32[features]`, drawn as `nn.Conv` does."""

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h_out w_out c_out"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return add_bias(conv2d(x, kernel, stride=self.stride, padding=self.padding), bias)


class ConvTranspose(nn.Module):
    """`torch.nn.ConvTranspose2d` on NHWC: kernel `f32[k, k, features, in]`, bias `f32[features]`.

    Drawn as `nn.ConvTranspose(transpose_kernel=True)`, the one of flax that is an adjoint, does: the features count as
    fan-in. With `in` counted instead, the decoder starts with weights so small that the first epoch ends at a test loss
    30 to 40 % higher (MNIST, two seeds).
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    output_padding: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h_out w_out c_out"]:
        shape = (self.kernel_size, self.kernel_size, self.features, x.shape[-1])
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        spread = conv_transpose2d(
            x, kernel, stride=self.stride, padding=self.padding, output_padding=self.output_padding
        )
        return add_bias(spread, bias)


MODELS: dict[str, type[ConvAutoencoder] | type[LinearAutoencoder]] = {
    "conv": ConvAutoencoder,
    "linear": LinearAutoencoder,
}


def _apply(layers: Sequence[nn.Module], x: jax.Array) -> jax.Array:
    *hidden, last = layers
    for layer in hidden:
        x = nn.relu(layer(x))
    return last(x)


def _check(name: str, array: jax.Array, expected: tuple[int, ...]) -> None:
    if array.shape[1:] != expected or array.ndim != len(expected) + 1:
        wanted = ", ".join(map(str, ("batch", *expected)))
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating-point, got {array.dtype}; ae_jax.normalise makes pixels so")
