"""Several devices: each has the whole state and all images, and takes its shard of every batch."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ae_jax.errors import InputError
from ae_jax.losses import LossFn, reconstruction_loss
from ae_jax.state import TrainState
from ae_jax.train import mean_loss, train_steps
from ae_jax.types import StepLosses

_AXIS = "batch"
_NUM_THREADS = 2  # on one core and on two, more are slower: each loop that XLA splits up has to be put together again
TrainSteps: TypeAlias = Callable[..., tuple[TrainState, StepLosses]]


def make_mesh(num_devices: int | None, *, batch_size: int, images_per_core: int | None) -> Mesh:
    """The devices to train on: GPUs or TPU cores where JAX has them, otherwise the CPU's cores.

    JAX takes a CPU for one device unless it is told otherwise before it is first used; this tells it.

    Args:
      num_devices: how many, or None for as many as make training fastest. Where it is 1 and this is JAX's first use,
        XLA gets as many threads on every machine, so that machines with other numbers of cores compute the same bits.
      batch_size: images a step; no more devices than that.
      images_per_core: the least that a core's shard of a batch has to be for a further core to pay off, or None for
        never: splitting costs an all-reduce and an optimizer step a core.

    Raises:
      InputError: there are fewer devices than `num_devices`, or fewer images in a batch.
    """
    if num_devices is not None and num_devices > batch_size:
        raise InputError(f"--devices {num_devices} cannot share a batch of {batch_size}; make --batch-size larger.")
    cores = max(1, min(num_cores(), batch_size // images_per_core)) if images_per_core else 1
    _ask_for_cpu_devices(num_devices or cores)
    with _as_many_threads_everywhere() if num_devices == 1 else contextlib.nullcontext():
        devices = jax.local_devices()
    if num_devices is None:
        num_devices = min(len(devices), cores if devices[0].platform == "cpu" else batch_size)
    if num_devices > len(devices):
        kind = devices[0].platform.upper()
        raise InputError(f"--devices {num_devices}: JAX has {len(devices)} here ({kind}); ask for no more.")
    return jax.make_mesh((num_devices,), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices[:num_devices])


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Every array of `tree` on each device of `mesh`; where it is already, its memory is shared, so donate only one."""
    return jax.device_put(tree, NamedSharding(mesh, P()))


@functools.cache
def make_train_steps(mesh: Mesh, batch_size: int, loss_fn: LossFn = reconstruction_loss) -> TrainSteps:
    """`train_steps` over the devices of `mesh`, compiled, with its arguments from `state` to `key`.

    All arguments are replicated. `state` and `losses` are donated: the caller must not use them again.
    """
    steps = functools.partial(train_steps, batch_size=batch_size, loss_fn=loss_fn, axis_name=_axis_name(mesh))
    return jax.jit(_on_each_device(mesh, steps), donate_argnums=(0, 1))


@functools.cache
def make_evaluate(mesh: Mesh, batch_size: int, loss_fn: LossFn = reconstruction_loss) -> Callable[..., jax.Array]:
    """The mean loss over all images, over the devices of `mesh`, compiled: `(state, images) → f32[]`."""
    mean = functools.partial(mean_loss, batch_size=batch_size, loss_fn=loss_fn, axis_name=_axis_name(mesh))
    return jax.jit(_on_each_device(mesh, mean))


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _axis_name(mesh: Mesh) -> str | None:
    """The axis to sum over; of a single device, none: its all-reduce would still copy every gradient."""
    return _AXIS if mesh.size > 1 else None


def _on_each_device(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with everything replicated; what differs between the devices is up to it."""
    return jax.shard_map(function, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)


def _ask_for_cpu_devices(num_devices: int) -> None:
    """Have JAX treat the CPU as `num_devices` devices, unless the user or an earlier use of JAX has decided already."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", num_devices)
    except RuntimeError:  # JAX is in use; then it has what it has
        return


@contextlib.contextmanager
def _as_many_threads_everywhere() -> Iterator[None]:
    """XLA splits sums by its number of threads, usually the cores; let it be `_NUM_THREADS`, unless the user says."""
    if {"PJRT_NPROC", "NPROC"} & os.environ.keys():
        yield
        return
    os.environ["PJRT_NPROC"] = str(_NUM_THREADS)
    try:
        yield
    finally:
        del os.environ["PJRT_NPROC"]  # it is read once; what this process starts is to decide for itself
