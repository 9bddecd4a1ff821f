"""Compiled data-parallel steps: each device holds the whole state and takes its shard of every batch."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jax.stages import Wrapped

from ae_jax.data.batching import ChunkBatches
from ae_jax.parallel.mesh import AXIS, compiler_options
from ae_jax.training.losses import LossFn, reconstruction_loss
from ae_jax.training.steps import mean_loss, run_steps


@functools.cache
def make_sharded_steps(
    mesh: Mesh, batch_size: int, loss_fn: LossFn = reconstruction_loss, *, stream: bool = False
) -> Wrapped:
    """Jit `run_steps` over the devices of `mesh`, with its arguments from `state` to `key`.

    All arguments are replicated, except for the images of `ChunkBatches`, which `stream` announces. `state` and
    `step_losses` are donated: the caller must not use them again.
    """
    steps = functools.partial(run_steps, batch_size=batch_size, loss_fn=loss_fn, axis_name=_axis_name(mesh))
    in_specs = (P(), P(), _batches_spec(stream), P(), P(), P())
    sharded = _on_each_device(mesh, steps, in_specs)
    return jax.jit(sharded, donate_argnums=(0, 1), compiler_options=compiler_options(mesh.devices.flat))


@functools.cache
def make_mean_loss(
    mesh: Mesh, num_images: int, batch_size: int, loss_fn: LossFn = reconstruction_loss, *, stream: bool = False
) -> Wrapped:
    """Jit `mean_loss` over the devices of `mesh`, with its arguments from `state` to `last`."""
    mean = functools.partial(mean_loss, num_images=num_images, batch_size=batch_size, loss_fn=loss_fn)
    mean = functools.partial(mean, axis_name=_axis_name(mesh))
    sharded = _on_each_device(mesh, mean, (P(), P(), _batches_spec(stream), P(), P()))
    return jax.jit(sharded, compiler_options=compiler_options(mesh.devices.flat))


def _axis_name(mesh: Mesh) -> str | None:
    """The axis to sum over; None for a single device, whose all-reduce would still copy every gradient."""
    return AXIS if mesh.size > 1 else None


def _batches_spec(stream: bool) -> Any:
    """The partition specs of an epoch's batches."""
    return ChunkBatches._make((P(AXIS), P(), P())) if stream else P()


def _on_each_device(mesh: Mesh, function: Callable[..., Any], in_specs: Any) -> Callable[..., Any]:
    """Run `function` on each device; it is responsible for equal results on all of them."""
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=False)
