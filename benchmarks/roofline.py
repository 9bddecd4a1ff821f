"""Roofline: a lower bound on the time per training step, from its FLOPs and optimizer traffic at measured rates."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp

from ae_jax.models.autoencoders import ConvAutoencoder, LinearAutoencoder
from ae_jax.types import Params

_SIZE = 1024  # rows and columns of the matrices whose product is timed
_REPEATS = 20

# Number of positions at which a layer applies its kernel to an image, if more than one: the pixels of a convolution's
# output, or of a transposed convolution's input.
_POSITIONS = {
    "conv": {"encoder_0": 14 * 14, "encoder_1": 7 * 7, "decoder_1": 7 * 7, "decoder_2": 14 * 14},
    "linear": {},
}


@dataclasses.dataclass(frozen=True)
class Work:
    """The work of one training step."""

    flops: int  # multiplications and additions of the forward and the backward pass
    optimizer_bytes: int  # Adam reads parameters, gradients and two moments, and writes all but the gradients


def step_work(arch: str, batch_size: int) -> Work:
    """Count the work of a step of `arch` on `batch_size` images.

    Each layer computes three products: its output and the gradients of its kernel and its input. The first layer needs
    no gradient of the images. Biases, activations and the loss are not counted.
    """
    model: nn.Module = ConvAutoencoder() if arch == "conv" else LinearAutoencoder()
    shapes: Params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    products = 0
    for name, layer in shapes.items():
        passes = 2 if name == "encoder_0" else 3
        products += passes * math.prod(layer["kernel"].shape) * _POSITIONS[arch].get(name, 1)
    num_params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    return Work(2 * products * batch_size, 7 * 4 * num_params)


class Rates:
    """The best rates measured so far; `measure` is repeated because the speed of a shared machine varies."""

    def __init__(self, arch: str) -> None:
        self.work = step_work(arch, 1)
        self.flops_per_second = self.bytes_per_second = 0.0

    def measure(self) -> None:
        """Time a product of two 1024×1024 matrices and the memory traffic of Adam; keep the best rates."""
        a = jnp.ones((_SIZE, _SIZE))
        self.flops_per_second = max(self.flops_per_second, 2 * _SIZE**3 / _best_time(_multiply, a))
        moments = jnp.ones((4, self.work.optimizer_bytes // (7 * 4)))
        self.bytes_per_second = max(self.bytes_per_second, self.work.optimizer_bytes / _best_time(_stream, moments))

    def roofline_ms(self, arch: str, batch_size: int) -> float:
        """The time of a step at these rates, in ms."""
        work = step_work(arch, batch_size)
        return 1e3 * (work.flops / self.flops_per_second + work.optimizer_bytes / self.bytes_per_second)


@functools.partial(jax.jit, static_argnums=1)
def _multiply(a: jax.Array, repeats: int) -> jax.Array:
    return jax.lax.fori_loop(0, repeats, lambda _, b: a @ b, a)


@functools.partial(jax.jit, static_argnums=1)
def _stream(arrays: jax.Array, repeats: int) -> Any:
    """Read four arrays and write three, as Adam does, with one addition per element."""
    gradients, *rest = arrays

    def body(_: jax.Array, state: list[jax.Array]) -> list[jax.Array]:
        return [array + gradients for array in state]

    return jax.lax.fori_loop(0, repeats, body, rest)


def _best_time(function: Callable[[jax.Array, int], Any], argument: jax.Array) -> float:
    jax.block_until_ready(function(argument, _REPEATS))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(function(argument, _REPEATS))
        times.append((time.perf_counter() - start) / _REPEATS)
    return min(times)
