"""Several devices, of one host or more: each has the whole state, and takes its shard of every batch."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.stages import Wrapped

from ae_jax.data.batching import Chunk
from ae_jax.errors import InputError
from ae_jax.training.losses import LossFn, reconstruction_loss
from ae_jax.training.steps import mean_loss, train_steps

AXIS = "devices"
_NUM_THREADS = 2  # on one core and on two, more are slower: each loop that XLA splits up has to be put together again


def make_mesh(num_devices: int | None, *, batch_size: int, images_per_core: int | None) -> Mesh:
    """The devices to train on, of all hosts: GPUs or TPU cores where JAX has them, otherwise the CPU's cores.

    JAX takes a CPU for one device unless it is told otherwise before it is first used; this tells it.

    Args:
      num_devices: how many on each host, or None for as many as make training fastest. Where it is 1 and this is JAX's
        first use, XLA gets as many threads on every machine, so that machines with other numbers of cores compute the
        same bits.
      batch_size: images a step; no more devices than that.
      images_per_core: the least that a core's shard of a batch has to be for a further core to pay off, or None for
        never: splitting costs an all-reduce and an optimizer step a core.

    Raises:
      InputError: there are fewer devices than `num_devices`, or none, or fewer images in a batch.
    """
    cores = max(1, min(num_cores(), batch_size // images_per_core)) if images_per_core else 1
    if num_devices is None or num_devices <= batch_size:  # otherwise that many need not even be made
        ask_for_cpu_devices(num_devices or cores)
    with _as_many_threads_everywhere() if num_devices == 1 else contextlib.nullcontext():
        of_hosts = _devices_of_hosts()
    present, is_cpu = min(map(len, of_hosts)), of_hosts[0][0].platform == "cpu"
    if num_devices is None:
        most = cores if is_cpu else batch_size
        num_devices = max(1, min(present, most // len(of_hosts)))
    if num_devices * len(of_hosts) > batch_size:
        on_hosts = f" on {len(of_hosts)} hosts" if len(of_hosts) > 1 else ""
        raise InputError(
            f"--devices {num_devices}{on_hosts} cannot share a batch of {batch_size}; make --batch-size larger."
        )
    if num_devices > present:
        kind = of_hosts[0][0].platform.upper()
        raise InputError(f"--devices {num_devices}: JAX has {present} here ({kind}); ask for no more.")
    devices = [device for host in of_hosts for device in host[:num_devices]]
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Every array of `tree` on each device of `mesh`; where it is already, its memory is shared, so donate only one.

    Each of several processes has to give the same.
    """
    everywhere = NamedSharding(mesh, P())
    if not _is_shared(mesh):
        return jax.device_put(tree, everywhere)
    return jax.tree.map(lambda leaf: _put(leaf, everywhere), tree)


def split(mesh: Mesh, shards: np.ndarray) -> jax.Array:
    """An array `[mesh.size, …]` of which each device has its own part, from those of `local_shards`, in their order."""
    return jax.make_array_from_process_local_data(over_shards(mesh), shards, (mesh.size, *shards.shape[1:]))


def over_shards(mesh: Mesh) -> NamedSharding:
    """How such an array lies on the devices."""
    return NamedSharding(mesh, P(AXIS))


def local_shards(mesh: Mesh) -> range:
    """Which shards of a batch are those of this process's devices."""
    mine = [place for place, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return range(mine[0], mine[-1] + 1)


def on_one_device(tree: Any) -> Any:
    """Of replicated arrays the copies on this process's first device: computing with them is no affair of others."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _is_shared(mesh: Mesh) -> bool:
    """Whether other processes have devices in it."""
    return any(device.process_index != jax.process_index() for device in mesh.devices.flat)


@functools.cache
def make_train_steps(
    mesh: Mesh, batch_size: int, loss_fn: LossFn = reconstruction_loss, *, stream: bool = False
) -> Wrapped:
    """`train_steps` over the devices of `mesh`, compiled, with its arguments from `state` to `key`.

    All arguments are replicated, but for the images of a `Chunk`, which `stream` says that the feed is. `state` and
    `step_losses` are donated: the caller must not use them again.
    """
    steps = functools.partial(train_steps, batch_size=batch_size, loss_fn=loss_fn, axis_name=_axis_name(mesh))
    in_specs = (P(), P(), _feed_spec(stream), P(), P(), P())
    return jax.jit(_on_each_device(mesh, steps, in_specs), donate_argnums=(0, 1))


@functools.cache
def make_mean_loss(
    mesh: Mesh, num_images: int, batch_size: int, loss_fn: LossFn = reconstruction_loss, *, stream: bool = False
) -> Wrapped:
    """`mean_loss` over the devices of `mesh`, compiled, with its arguments from `state` to `last`."""
    mean = functools.partial(mean_loss, num_images=num_images, batch_size=batch_size, loss_fn=loss_fn)
    mean = functools.partial(mean, axis_name=_axis_name(mesh))
    return jax.jit(_on_each_device(mesh, mean, (P(), P(), _feed_spec(stream), P(), P())))


def make_all_reduces(mesh: Mesh) -> Wrapped:
    """So many sums of an array over the devices of `mesh`, one after another, compiled: `(f32[n], times) → f32[n]`."""

    def sums(numbers: jax.Array, times: int) -> jax.Array:
        return jax.lax.fori_loop(0, times, lambda _, x: jax.lax.psum(x, AXIS), numbers)

    return jax.jit(_on_each_device(mesh, sums, P()))


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ask_for_cpu_devices(num_devices: int) -> None:
    """Have JAX treat the CPU as `num_devices` devices, unless the user or an earlier use of JAX has decided already."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", num_devices)
    except RuntimeError:  # JAX is in use; then it has what it has
        return


def _devices_of_hosts() -> list[list[jax.Device]]:
    try:
        return [jax.local_devices(host) for host in range(jax.process_count())]
    except jax.errors.JaxRuntimeError:  # of another process
        raise
    except (RuntimeError, AssertionError) as error:  # the latter for a platform that is known, but not installed
        reason = f" ({str(error).splitlines()[0]})" if str(error) else ""
        raise InputError(f"JAX finds no device{reason}; set JAX_PLATFORMS to what is here, cpu for one.") from error


def _axis_name(mesh: Mesh) -> str | None:
    """The axis to sum over; of a single device, none: its all-reduce would still copy every gradient."""
    return AXIS if mesh.size > 1 else None


def _feed_spec(stream: bool) -> Any:
    """Of an epoch's feed, what each device has."""
    return Chunk._make((P(AXIS), P(), P())) if stream else P()


def _on_each_device(mesh: Mesh, function: Callable[..., Any], in_specs: Any) -> Callable[..., Any]:
    """`function` on each device, with replicated results; what differs between the devices is up to it."""
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=False)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    array = np.asarray(leaf)
    return jax.make_array_from_process_local_data(sharding, array, array.shape)


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
