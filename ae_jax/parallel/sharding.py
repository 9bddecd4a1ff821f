"""Placement of arrays on the mesh: replicated, or one shard per device."""

from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ae_jax.parallel.mesh import AXIS


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copy every array of `tree` to each device of `mesh`.

    An array that is on a device already shares its memory with the copy there, so donate only one of the two. In a
    distributed run every process must pass the same values.
    """
    everywhere = NamedSharding(mesh, P())
    if not _spans_processes(mesh):
        return jax.device_put(tree, everywhere)
    return jax.tree.map(lambda leaf: _put(leaf, everywhere), tree)


def shard_from_host(mesh: Mesh, shards: np.ndarray) -> jax.Array:
    """An array `[mesh.size, …]` with one row per device, from the rows of this process's `local_shards`, in order."""
    return jax.make_array_from_process_local_data(row_sharding(mesh), shards, (mesh.size, *shards.shape[1:]))


def row_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding with one row of an array per device."""
    return NamedSharding(mesh, P(AXIS))


def local_shards(mesh: Mesh) -> range:
    """The indices of the shards that belong to this process's devices."""
    mine = [i for i, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return range(mine[0], mine[-1] + 1)


def local_copy(tree: Any) -> Any:
    """The local copy of each replicated array; computing with it needs no collective."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _spans_processes(mesh: Mesh) -> bool:
    """Whether the mesh contains devices of other processes."""
    return any(device.process_index != jax.process_index() for device in mesh.devices.flat)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    array = np.asarray(leaf)
    return jax.make_array_from_process_local_data(sharding, array, array.shape)
