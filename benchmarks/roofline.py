"""Roofline: a lower bound on the time per training step, from its FLOPs and optimizer traffic at measured rates."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp

from ae_jax.config import Arch
from ae_jax.models.autoencoders import make_model, param_shapes

_SIZE = 1024  # rows and columns of the matrices whose product is timed
_REPEATS = 20

# Number of positions at which a layer applies its kernel to an image, if more than one: the pixels of a convolution's
# output, or of a transposed convolution's input.
_POSITIONS = {
    "conv": {"encoder_0": 14 * 14, "encoder_1": 7 * 7, "decoder_1": 7 * 7, "decoder_2": 14 * 14},
    "linear": {},
}


class Work(NamedTuple):
    """The work of one training step."""

    flops: int  # multiplications and additions of the forward and the backward pass
    optimizer_bytes: int  # Adam reads parameters, gradients and two moments, and writes all but the gradients


def step_work(arch: Arch, batch_size: int) -> Work:
    """Count the work of a step of `arch`, "conv" or "linear", on `batch_size` images.

    Each layer computes three products: its output and the gradients of its kernel and its input. The first layer needs
    no gradient of the images. Biases, activations and the loss are not counted.
    """
    shapes, products = param_shapes(make_model(arch)), 0
    for name, layer in shapes.items():
        passes = 2 if name == "encoder_0" else 3
        products += passes * math.prod(layer["kernel"].shape) * _POSITIONS[arch].get(name, 1)
    return Work(2 * products * batch_size, 7 * 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes)))


class Rates:
    """The best rates measured so far; `measure` is repeated because the speed of a shared machine varies."""

    def __init__(self, arch: Arch) -> None:
        self._arch, self._flops, self._bytes = arch, 0.0, 0.0  # per second

    def measure(self) -> None:
        """Time a product of two 1024×1024 matrices and the memory traffic of Adam; keep the best rates."""
        num_bytes = step_work(self._arch, 1).optimizer_bytes
        self._flops = max(self._flops, 2 * _SIZE**3 / _best_time(_multiply, jnp.ones((_SIZE, _SIZE))))
        self._bytes = max(self._bytes, num_bytes / _best_time(_stream, jnp.ones((4, num_bytes // (7 * 4)))))

    def describe(self) -> dict[str, float]:
        """The rates."""
        return {"GFLOP/s": self._flops / 1e9, "GB/s": self._bytes / 1e9}

    def roofline_ms(self, batch_size: int) -> float:
        """The time of a step at these rates, in ms."""
        work = step_work(self._arch, batch_size)
        return 1e3 * (work.flops / self._flops + work.optimizer_bytes / self._bytes)


@functools.partial(jax.jit, static_argnums=1)
def _multiply(a: jax.Array, repeats: int) -> jax.Array:
    return jax.lax.fori_loop(0, repeats, lambda _, b: a @ b, a)


@functools.partial(jax.jit, static_argnums=1)
def _stream(arrays: jax.Array, repeats: int) -> Any:
    """Read four arrays and write three, as Adam does, with one addition per element."""
    gradients, *rest = arrays
    return jax.lax.fori_loop(0, repeats, lambda _, state: [array + gradients for array in state], rest)


def _best_time(function: Callable[[jax.Array, int], Any], argument: jax.Array) -> float:
    jax.block_until_ready(function(argument, _REPEATS))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(function(argument, _REPEATS))
        times.append((time.perf_counter() - start) / _REPEATS)
    return min(times)
