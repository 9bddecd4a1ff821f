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

from ae_jax.data.batching import batch_sizes, epoch_order, pack
from ae_jax.parallel.hosts import max_over_processes
from ae_jax.parallel.mesh import AXIS, compiler_options
from ae_jax.training.loop import mean_loss, noise_key, run_steps
from ae_jax.training.losses import LossFn, reconstruction_loss
from ae_jax.training.state import TrainState
from ae_jax.types import HostImages, PackedPixels, RandomKey, StepLosses

_SEGMENT_SECONDS = 0.5  # between two updates of the progress bar; a signal is obeyed when a segment has ended
_FIRST_SEGMENT = 16  # steps, to learn how long a step takes


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled steps of a run and its images, on its devices."""

    mesh: Mesh
    images: PackedPixels  # u32[n, 28, 7, 1], replicated
    sizes: np.ndarray  # i32[steps], images in each batch of an epoch
    run_steps: Callable[..., tuple[TrainState, StepLosses]]  # of `training.loop`; donates the first two arguments

    @property
    def num_images(self) -> int:
        """Images per epoch."""
        return int(self.sizes.sum())

    def train_epoch(self, state: TrainState, key: RandomKey) -> Iterator[tuple[TrainState, np.ndarray, int]]:
        """`ae_jax.train_epoch` with the same key, in segments of about half a second, whose lengths change no bit.

        Yields:
          After each segment the state, donated to the next one, the epoch's losses `f32[steps]`, and the number of
          steps so far, which have them. The initial state is donated too.
        """
        order = replicate(self.mesh, epoch_order(key, len(self.images)))
        noise, losses = replicate(self.mesh, (noise_key(key), np.zeros(len(self.sizes), np.float32)))
        first, length = 0, _FIRST_SEGMENT
        while first < len(self.sizes):
            start, last = time.perf_counter(), min(first + length, len(self.sizes))
            state, losses = self.run_steps(state, losses, self.images, order, first, last, noise)
            values = np.asarray(losses)  # waits
            steps_per_second = (last - first) / (time.perf_counter() - start)
            yield state, values, last
            first, length = last, max_over_processes(max(1, int(steps_per_second * _SEGMENT_SECONDS)))


def compile_program(
    mesh: Mesh,
    images: HostImages,
    state: TrainState,
    batch_size: int,
    num_steps: int | None = None,
    loss_fn: LossFn = reconstruction_loss,
) -> Program:
    """Compile the steps of an epoch on `images`, `u8[n, 28, 28, 1]`, for a state such as `state`, on the devices.

    `batch_size`, of all devices together, `num_steps` and `loss_fn` are as for `ae_jax.train_epoch`.
    """
    sizes = batch_sizes(len(images), batch_size)[:num_steps]
    steps = functools.partial(run_steps, batch_size=int(sizes[0]), loss_fn=loss_fn, axis_name=_axis_name(mesh))
    program = jax.jit(
        jax.shard_map(steps, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False),
        donate_argnums=(0, 1),
        compiler_options=compiler_options(mesh.devices.flat),
    )
    packed = replicate(mesh, pack(images))
    zeros = np.zeros(len(sizes), np.float32), np.zeros(len(images), np.int32)
    losses, order, key = replicate(mesh, (*zeros, jax.random.key(0)))
    return Program(mesh, packed, sizes, program.lower(state, losses, packed, order, 0, 0, key).compile())


def compile_mean_loss(mesh: Mesh, images: HostImages, like: TrainState) -> Callable[[TrainState], float]:
    """Compile the mean squared error over all `images`, as a function of a state such as `like` on the devices."""
    mean = functools.partial(mean_loss, batch_size=64, axis_name=_axis_name(mesh))  # as in `evaluate`
    packed = replicate(mesh, pack(images))
    sharded = jax.shard_map(mean, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    program = jax.jit(sharded, compiler_options=compiler_options(mesh.devices.flat)).lower(like, packed).compile()
    return lambda state: float(program(state, packed))


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
