"""The programs of a run: each device holds the whole state and all images, and takes its shard of every batch."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ae_jax.data.batching import batch_sizes, epoch_order, num_examples
from ae_jax.parallel.mesh import AXIS, compiler_options, max_over_processes
from ae_jax.training.loop import mean_metrics, noise_key, run_steps, zero_metrics
from ae_jax.training.losses import LossFn, reconstruction_loss
from ae_jax.training.state import TrainState
from ae_jax.types import Batch, RandomKey, StepMetrics

_SEGMENT_SECONDS = 0.5  # between two updates of the progress bar; a signal is obeyed when a segment has ended
_FIRST_SEGMENT = 16  # steps, to learn how long a step takes


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled steps of a run and its data, on its devices."""

    mesh: Mesh
    data: Batch  # replicated
    sizes: np.ndarray  # i32[steps], examples in each batch of an epoch
    names: tuple[str, ...]  # of the metrics of a step
    run_steps: Callable[..., tuple[TrainState, StepMetrics]]  # of `training.loop`; donates the first two arguments

    def train_epoch(self, state: TrainState, key: RandomKey) -> Iterator[tuple[TrainState, dict[str, np.ndarray], int]]:
        """`ae_jax.train_epoch` with the same key, in segments of about half a second, whose lengths change no bit.

        Yields:
          After each segment the state, donated to the next one, the metrics of the epoch's steps, each `f32[steps]`,
          and the number of steps so far, which have them. The initial state is donated too.
        """
        order = replicate(self.mesh, epoch_order(key, num_examples(self.data)))
        zeros = {name: np.zeros(len(self.sizes), np.float32) for name in self.names}
        noise, metrics = replicate(self.mesh, (noise_key(key), zeros))
        first, length = 0, _FIRST_SEGMENT
        while first < len(self.sizes):
            start, last = time.perf_counter(), min(first + length, len(self.sizes))
            state, metrics = self.run_steps(state, metrics, self.data, order, first, last, noise)
            values = {name: np.asarray(each) for name, each in metrics.items()}  # waits
            steps_per_second = (last - first) / (time.perf_counter() - start)
            yield state, values, last
            first, length = last, max_over_processes(max(1, int(steps_per_second * _SEGMENT_SECONDS)))


def compile_program(
    mesh: Mesh,
    data: Batch,
    state: TrainState,
    batch_size: int,
    num_steps: int | None = None,
    loss_fn: LossFn = reconstruction_loss,
) -> Program:
    """Compile the steps of an epoch on host data, such as `u8[n, 28, 28, 1]`, for states like `state` on the devices.

    `batch_size`, of all devices together, `num_steps` and `loss_fn` are as for `ae_jax.train_epoch`.
    """
    n = num_examples(data)
    sizes = batch_sizes(n, batch_size)[:num_steps]
    settings: dict[str, Any] = {"batch_size": int(sizes[0]), "loss_fn": loss_fn}
    steps: Any = functools.partial(run_steps, axis_name=_axis_name(mesh), **settings)
    program = jax.jit(
        jax.shard_map(steps, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False),
        donate_argnums=(0, 1),
        compiler_options=compiler_options(mesh.devices.flat),
    )
    placed, order, key = replicate(mesh, (data, np.zeros(n, np.int32), jax.random.key(0)))
    metrics = replicate(mesh, zero_metrics(local_copy(state), data, key, num_steps=len(sizes), **settings))
    compiled = program.lower(state, metrics, placed, order, 0, 0, key).compile()
    return Program(mesh, placed, sizes, tuple(metrics), compiled)


def compile_evaluate(
    mesh: Mesh, data: Batch, like: TrainState, loss_fn: LossFn = reconstruction_loss
) -> Callable[[TrainState], dict[str, float]]:
    """Compile `evaluate` on host data without a key, as a function of a state such as `like` on the devices."""
    mean = functools.partial(mean_metrics, key=None, batch_size=64, loss_fn=loss_fn, axis_name=_axis_name(mesh))
    placed = replicate(mesh, data)
    sharded = jax.shard_map(mean, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    program = jax.jit(sharded, compiler_options=compiler_options(mesh.devices.flat)).lower(like, placed).compile()
    return lambda state: {name: float(mean) for name, mean in program(state, placed).items()}


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copy every array of `tree` to each device of `mesh`; in a distributed run every process passes the same values.

    An array that is on a device already shares its memory with the copy there, so donate only one of the two.
    """

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):  # not across processes
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        return jax.device_put(leaf, NamedSharding(mesh, P()))

    return jax.tree.map(put, tree)


def local_copy(tree: Any) -> Any:
    """The local copy of each replicated array; computing with it needs no collective."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _axis_name(mesh: Mesh) -> str | None:
    """The axis to sum over; None for a single device, whose all-reduce would still copy every gradient."""
    return AXIS if mesh.size > 1 else None
