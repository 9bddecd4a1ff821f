"""A population: many runs of one model on the same images, which differ in seed, learning rate and weight decay.

The members are sharded over the devices, without any collective; a device trains one, or several (`vmap`), at a time.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.stages import Wrapped

from ae_jax.choices import Devices
from ae_jax.config import TrainConfig
from ae_jax.data.batching import ResidentBatches, batch_sizes, epoch_order, pack
from ae_jax.data.stored_images import AnyImages
from ae_jax.parallel.memory import free_bytes
from ae_jax.parallel.mesh import AXIS, compiler_options, make_mesh
from ae_jax.parallel.sharding import replicate
from ae_jax.runs.setup import initial_state, mean_pixel, run_loss, step_sizes
from ae_jax.training.losses import LossFn
from ae_jax.training.state import TrainState
from ae_jax.training.steps import mean_loss, noise_key, run_steps
from ae_jax.types import AnyLosses, MembersKeys, MembersStepLosses, PackedPixels, Params, PlacedOrder, RandomKeys


@dataclasses.dataclass(frozen=True)
class Population:
    """The compiled steps of many runs and their data; implements `RunProgram`, which documents its methods.

    The leading axis of its arrays is the members, padded to a multiple of the devices. Trained one at a time on as many
    threads of a CPU, a member equals its single run bit for bit; trained several at a time, up to rounding.
    """

    mesh: Mesh
    images: PackedPixels  # u32[n, 28, 7, 1], replicated
    sizes: np.ndarray  # i32[steps], images in each batch of an epoch
    compiled_steps: Wrapped
    members_per_device: int  # trained at a time
    shuffle_key: MembersKeys  # not padded

    @property
    def num_members(self) -> int:
        return len(self.shuffle_key)

    @property
    def num_images(self) -> int:
        """Images per epoch, summed over the members."""
        return self.num_members * int(self.sizes.sum())

    def check(self, losses: np.ndarray, step: int) -> None:
        """Check nothing: a member that diverges does not end the sweep."""

    def check_params(self, params: Params, step: int) -> None:
        """Check nothing: diverged members are saved, too."""

    def order(self, epoch: int) -> PlacedOrder:
        keys = jax.vmap(jax.random.fold_in, (0, None))(self.shuffle_key, epoch)
        return self.place(jax.vmap(epoch_order, (0, None))(keys, len(self.images)))

    def no_losses(self) -> MembersStepLosses:
        return self.place(np.zeros((self.num_members, len(self.sizes)), np.float32))

    def run_steps(
        self, states: TrainState, losses: AnyLosses, orders: PlacedOrder, first: int, last: int
    ) -> tuple[TrainState, AnyLosses]:
        keys = jax.vmap(noise_key)(self.shuffle_key)
        return self.compiled_steps(states, losses, self.images, orders, self.place(keys), first, last)

    def place(self, tree: Any) -> Any:
        """Shard arrays `[num_members, …]` over the devices, padded with copies of the last member."""
        padding = -self.num_members % self.mesh.size
        padded = jax.tree.map(lambda leaf: leaf[np.r_[: len(leaf), [-1] * padding]] if padding else leaf, tree)
        return jax.device_put(padded, NamedSharding(self.mesh, P(AXIS)))

    def with_shuffle_key(self, key: MembersKeys) -> "Population":
        return dataclasses.replace(self, shuffle_key=key)

    def fetch(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[: self.num_members], jax.device_get(tree))


def population_mesh(devices: Devices, num_members: int) -> Mesh:
    """The mesh of at most one device per member; "auto": all devices, or all cores of a CPU.

    Raises:
      InputError: fewer devices exist.
    """
    num_devices = devices if devices == "auto" else min(devices, num_members)
    return make_mesh(num_devices, batch_size=num_members, images_per_core=1)


def initial_states(members: Sequence[TrainConfig], images: AnyImages) -> TrainState:
    """The initial states of the members, stacked."""
    num_steps, mean = members[0].epochs * len(step_sizes(members[0], len(images))), mean_pixel(images)
    states = [initial_state(member, _keys(member)[0], num_steps, mean_pixel=mean) for member in members]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(states))


def make_population(
    members: Sequence[TrainConfig],
    images: AnyImages,
    mesh: Mesh,
    members_per_device: int | None = None,
    memory: int | None = None,
) -> tuple[Population, TrainState]:
    """Compile the program of a population and make its initial states.

    Args:
      members: the settings of the members, which differ in seed, learning rate and weight decay.
      images: the training images `u8[n, 28, 28, 1]`.
      mesh: the devices that share the members.
      members_per_device: most members that a device trains at a time. None: 1 on a CPU, the fastest there, else all.
      memory: limit for temporary buffers in bytes, met by fewer members at a time. None: the free memory of a device.
    """
    sizes = step_sizes(members[0], len(images))
    shuffle_keys = jnp.stack([_keys(member)[1] for member in members])
    make_steps = functools.partial(_make_steps, mesh, int(sizes[0]), run_loss(members[0]))
    population = Population(mesh, replicate(mesh, pack(np.asarray(images))), sizes, make_steps(1), 1, shuffle_keys)
    state = population.place(initial_states(members, images))
    arguments = (state, population.no_losses(), population.images, population.order(1), population.place(shuffle_keys))
    device = mesh.devices.flat[0]
    if members_per_device is None:
        members_per_device = 1 if device.platform == "cpu" else -(-len(members) // mesh.size)
    memory = free_bytes(device) if memory is None else memory
    steps, members_per_device = _compile_within_memory(make_steps, arguments, members_per_device, memory)
    return dataclasses.replace(population, compiled_steps=steps, members_per_device=members_per_device), state


def make_test_losses(
    population: Population, images: AnyImages, like: TrainState, batch_size: int = 64
) -> Callable[[TrainState], list[float]]:
    """Compile the mean loss of each member over all `images`, as a function of states such as `like`."""
    images, sizes = replicate(population.mesh, pack(np.asarray(images))), batch_sizes(len(images), batch_size)
    mean = functools.partial(mean_loss, num_images=len(images), batch_size=int(sizes[0]))

    def local_mean(states: TrainState, images: PackedPixels) -> jax.Array:
        batches = ResidentBatches(images, jnp.arange(len(images), dtype=jnp.int32))
        return lax.map(lambda state: mean(state, jnp.float32(0), batches, 0, len(sizes)), states)

    means = jax.shard_map(local_mean, mesh=population.mesh, in_specs=(P(AXIS), P()), out_specs=P(AXIS), check_vma=False)
    losses = jax.jit(means, compiler_options=compiler_options(population.mesh.devices.flat))
    losses.lower(like, images).compile()  # not in the training loop, which defers signals
    return lambda states: population.fetch(losses(states, images)).tolist()


def _keys(member: TrainConfig) -> RandomKeys:
    """The keys for initialisation and shuffling, as in `make_program`."""
    return jax.random.split(jax.random.key(member.seed))


def _make_steps(mesh: Mesh, batch_size: int, loss_fn: LossFn, members_per_device: int) -> Wrapped:
    """`run_steps` for every member: `(states, losses, images, orders, keys, first, last) → states, losses`."""

    def run_local(states, losses, images, orders, keys, first, last):  # type: ignore[no-untyped-def]  # as above
        def run_member(member):  # type: ignore[no-untyped-def]
            state, losses, order, key = member
            batches = ResidentBatches(images, order)
            return run_steps(state, losses, batches, first, last, key, batch_size=batch_size, loss_fn=loss_fn)

        vmap_size = members_per_device if members_per_device > 1 else None
        return lax.map(run_member, (states, losses, orders, keys), batch_size=vmap_size)

    sharded, replicated = P(AXIS), P()
    in_specs = (sharded, sharded, replicated, sharded, sharded, replicated, replicated)
    steps = jax.shard_map(run_local, mesh=mesh, in_specs=in_specs, out_specs=sharded, check_vma=False)
    return jax.jit(steps, donate_argnums=(0, 1), compiler_options=compiler_options(mesh.devices.flat))


def _compile_within_memory(
    make_steps: Callable[[int], Wrapped], arguments: Any, members_per_device: int, memory: int
) -> tuple[Wrapped, int]:
    """Compile the steps for `members_per_device` at a time, halved until the temporaries fit in `memory` bytes."""
    while True:
        steps = make_steps(members_per_device)
        usage = steps.lower(*arguments, 0, 0).compile().memory_analysis()
        if members_per_device == 1 or usage is None or usage.temp_size_in_bytes <= memory:
            return steps, members_per_device
        members_per_device = -(-members_per_device // 2)
