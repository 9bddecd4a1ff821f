"""Time of `ae_jax.Conv` and `ae_jax.ConvTranspose` in a compiled loop, beside flax's layers and PyTorch's."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from flax import linen as nn
from jax import lax
from jax import numpy as jnp

import ae_jax
from benchmarks.contenders import Table

_BATCH_SIZE = 32
_TIMED_SECONDS = 0.05  # per measurement, so that the overhead of a call is negligible
_TASKS = ("forward", "gradient")
_RATE = 1e-9  # each iteration changes its operands by as little, so that none can be moved out of the loop

Loop: TypeAlias = Callable[[int], Any]  # runs so many iterations
Carry: TypeAlias = tuple[dict[str, Any], jax.Array, jax.Array]  # variables of the layer, images, result


class Shape(NamedTuple):
    """A layer, which keeps the size of its images up to the stride, and the images."""

    size: int  # height and width
    channels: int
    features: int
    kernel_size: int
    stride: int = 1
    is_transposed: bool = False

    def __str__(self) -> str:
        name = "ConvTranspose" if self.is_transposed else "Conv"
        kernel, channels = f"{self.kernel_size}×{self.kernel_size}", f"{self.channels} → {self.features}"
        return f"{name}, {kernel}, stride {self.stride}, {channels}, {self.size}×{self.size}"

    def images(self) -> np.ndarray:
        """Random images."""
        shape = (_BATCH_SIZE, self.size, self.size, self.channels)
        return np.random.default_rng(0).standard_normal(shape, np.float32)


SHAPES = (
    Shape(28, 1, 16, 3),
    Shape(14, 16, 32, 3),
    Shape(8, 64, 64, 3),
    Shape(14, 16, 16, 5),
    Shape(28, 1, 16, 3, stride=2),
    Shape(14, 16, 32, 3, stride=2),
    Shape(32, 3, 64, 7, stride=2),
    Shape(14, 32, 16, 3, is_transposed=True),
    Shape(7, 32, 16, 3, stride=2, is_transposed=True),
    Shape(8, 64, 32, 5, stride=2, is_transposed=True),
)


def measure_convolutions(rounds: int) -> Iterator[tuple[str, Table]]:
    """Measure the minimum µs per batch of 32, of the forward pass and of it with the gradient.

    ae_jax and flax take turns. PyTorch, if it is installed, follows after all shapes, as its threads wait by spinning.
    """
    rows: Table = {str(shape): {} for shape in SHAPES}
    for shape in SHAPES:
        for task in _TASKS:
            loops = {name: _jax_loop(layer, shape.images(), task) for name, layer in layers(shape).items()}
            times = _microseconds(loops, rounds)
            rows[str(shape)] |= {f"{task}: {name}": time for name, time in times.items()}
            rows[str(shape)][f"{task}: flax / ae_jax"] = times["flax"] / times["ae_jax"]
    if importlib.util.find_spec("torch"):
        for shape in SHAPES:
            loops = {f"{task}: PyTorch": _torch_loop(shape, task) for task in _TASKS}
            rows[str(shape)] |= _microseconds(loops, rounds)
    yield "convolutions: µs per batch of 32", rows


def layers(shape: Shape) -> dict[str, nn.Module]:
    """The layer of that shape in ae_jax and in flax."""
    size, strides, padding = (
        (shape.kernel_size, shape.kernel_size),
        (shape.stride, shape.stride),
        shape.kernel_size // 2,
    )
    settings: dict[str, Any] = {"kernel_size": shape.kernel_size, "stride": shape.stride, "padding": padding}
    if not shape.is_transposed:
        flax = nn.Conv(shape.features, size, strides, padding)
        return {"ae_jax": ae_jax.Conv(shape.features, **settings), "flax": flax}
    low, extra = shape.kernel_size - 1 - padding, shape.stride - 1
    ours = ae_jax.ConvTranspose(shape.features, output_padding=extra, **settings)
    return {"ae_jax": ours, "flax": nn.ConvTranspose(shape.features, size, strides, ((low, low + extra),) * 2)}


def _microseconds(loops: dict[str, Loop], rounds: int) -> dict[str, float]:
    counts, best = {name: _count(loop) for name, loop in loops.items()}, dict.fromkeys(loops, np.inf)
    for _ in range(rounds):
        for name, loop in loops.items():
            best[name] = min(best[name], 1e6 * _seconds(loop, counts[name]) / counts[name])
    return best


def _count(loop: Loop) -> int:
    """The number of iterations that take `_TIMED_SECONDS`."""
    loop(1)
    return max(3, round(_TIMED_SECONDS / (_seconds(loop, 3) / 3)))


def _seconds(loop: Loop, count: int) -> float:
    start = time.perf_counter()
    loop(count)
    return time.perf_counter() - start


def _jax_loop(layer: nn.Module, x: np.ndarray, task: str) -> Loop:
    def apply(variables: dict[str, Any], x: jax.Array) -> Any:
        return layer.apply(variables, x)

    def step(_: int, carry: Carry) -> Carry:
        variables, x = carry[:2]
        if task == "gradient":
            y, pull_back = jax.vjp(apply, variables, x)
            return *jax.tree.map(lambda leaf, grad: leaf - _RATE * grad, (variables, x), pull_back(y)), y
        y = apply(variables, x)
        return variables, x + _RATE * y[0, 0, 0, 0], y

    @jax.jit
    def run(carry: Carry, count: int) -> Carry:
        return lax.fori_loop(0, count, step, carry)

    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    return lambda count: jax.block_until_ready(run((variables, jnp.asarray(x), y), count))


def _torch_loop(shape: Shape, task: str) -> Loop:
    import torch

    gradient = task == "gradient"
    sizes = (shape.channels, shape.features, shape.kernel_size, shape.stride, shape.kernel_size // 2)
    layer = torch.nn.ConvTranspose2d(*sizes, shape.stride - 1) if shape.is_transposed else torch.nn.Conv2d(*sizes)
    layer.to(memory_format=torch.channels_last)
    images = torch.from_numpy(shape.images()).movedim(-1, 1).requires_grad_(gradient)  # channels last, too

    def run(count: int) -> None:
        with torch.set_grad_enabled(gradient):
            for _ in range(count):
                y = layer(images)
                if gradient:
                    torch.autograd.grad(y, [images, *layer.parameters()], y.detach())

    return run
