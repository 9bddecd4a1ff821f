"""Many runs of one model as one program: each its own seed, learning rate and weight decay, all the same images.

Devices share the members, and no step waits for another device. A device trains its members one after another or, where
its arithmetic is worth it, several at a time.
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
from ae_jax.data.batching import ResidentBatches, batch_sizes, epoch_order
from ae_jax.data.stored_images import AnyImages
from ae_jax.parallel.memory import free_bytes
from ae_jax.parallel.mesh import AXIS, make_mesh
from ae_jax.parallel.sharding import replicate
from ae_jax.runs.setup import initial_state, run_loss
from ae_jax.training.losses import LossFn
from ae_jax.training.state import TrainState
from ae_jax.training.steps import mean_loss, noise_key, run_steps
from ae_jax.types import AnyLosses, MembersKeys, MembersStepLosses, Params, Pixels, PlacedOrder, RandomKeys


@dataclasses.dataclass(frozen=True)
class Population:
    """The compiled steps of many runs and what they work on. Arrays lead with the members, padded to fill the devices.

    A member is what it would be alone: one at a time on as many threads to the bit, several at a time to rounding.
    """

    mesh: Mesh
    images: Pixels  # u8[n, 28, 28, 1], on every device
    sizes: np.ndarray  # i32[steps], images in each batch of an epoch
    compiled_steps: Wrapped
    members_per_device: int  # trained at a time
    shuffle_key: MembersKeys  # without padding

    @property
    def num_members(self) -> int:
        """Without padding."""
        return len(self.shuffle_key)

    @property
    def num_images(self) -> int:
        """Seen in an epoch, by all members together."""
        return self.num_members * len(self.images)

    def check(self, losses: np.ndarray, step: int) -> None:
        """Members may diverge."""

    def check_params(self, params: Params, step: int) -> None:
        """Members may diverge."""

    def order(self, epoch: int) -> PlacedOrder:
        """In which epoch 1, 2, … each visits the images."""
        keys = jax.vmap(jax.random.fold_in, (0, None))(self.shuffle_key, epoch)
        return self.place(jax.vmap(epoch_order, (0, None))(keys, len(self.images)))

    def no_losses(self) -> MembersStepLosses:
        """Room for an epoch's losses."""
        return self.place(np.zeros((self.num_members, len(self.sizes)), np.float32))

    def run_steps(
        self, states: TrainState, losses: AnyLosses, orders: PlacedOrder, first: int, last: int
    ) -> tuple[TrainState, AnyLosses]:
        """The epoch's steps `first <= i < last` of each; `states` and `losses` are used up."""
        keys = jax.vmap(noise_key)(self.shuffle_key)
        return self.compiled_steps(states, losses, self.images, orders, self.place(keys), first, last)

    def place(self, tree: Any) -> Any:
        """Arrays `[num_members, …]` on the devices, each with its part; the last member fills up what is left."""
        rest = -self.num_members % self.mesh.size
        padded = jax.tree.map(lambda leaf: leaf[np.r_[: len(leaf), [-1] * rest]] if rest else leaf, tree)
        return jax.device_put(padded, NamedSharding(self.mesh, P(AXIS)))

    def with_shuffle_key(self, key: MembersKeys) -> "Population":
        """The same population with other shuffle keys."""
        return dataclasses.replace(self, shuffle_key=key)

    def fetch(self, tree: Any) -> Any:
        """The reverse, as NumPy arrays."""
        return jax.tree.map(lambda leaf: leaf[: self.num_members], jax.device_get(tree))


def population_mesh(devices: Devices, num_members: int) -> Mesh:
    """The devices that share the members, or None for all, on a CPU its cores; no more than there are members.

    Raises:
      InputError: there are not so many.
    """
    wanted = devices if devices == "auto" else min(devices, num_members)
    return make_mesh(wanted, batch_size=num_members, images_per_core=1)


def initial_states(members: Sequence[TrainConfig], num_images: int) -> TrainState:
    """The states that the members begin with, stacked."""
    num_steps = members[0].epochs * len(batch_sizes(num_images, members[0].batch_size))
    states = [initial_state(member, _keys(member)[0], num_steps) for member in members]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(states))


def make_population(
    members: Sequence[TrainConfig],
    images: AnyImages,
    mesh: Mesh,
    members_per_device: int | None = None,
    memory: int | None = None,
) -> tuple[Population, TrainState]:
    """The program of `members`, compiled, and the states to start from.

    Args:
      members: the settings of each, which differ in seed, learning rate and weight decay.
      images: `u8[n, 28, 28, 1]`.
      mesh: the devices that share the members.
      members_per_device: the maximum number that a device trains at a time. None: one on a CPU, where that is
        fastest, otherwise all.
      memory: the bytes that the program may need for it, or it trains fewer at a time. None: what a device has left.
    """
    sizes = batch_sizes(len(images), members[0].batch_size)
    shuffle_keys = jnp.stack([_keys(member)[1] for member in members])
    make_steps = functools.partial(_make_steps, mesh, int(sizes[0]), run_loss(members[0]))
    population = Population(mesh, replicate(mesh, np.asarray(images)), sizes, make_steps(1), 1, shuffle_keys)
    state = population.place(initial_states(members, len(images)))
    arguments = (state, population.no_losses(), population.images, population.order(1), population.place(shuffle_keys))
    device = mesh.devices.flat[0]
    if members_per_device is None:
        members_per_device = 1 if device.platform == "cpu" else -(-len(members) // mesh.size)
    steps, members_per_device = _compile_within_memory(
        make_steps, arguments, members_per_device, free_bytes(device) if memory is None else memory
    )
    return dataclasses.replace(population, compiled_steps=steps, members_per_device=members_per_device), state


def make_test_losses(
    population: Population, images: AnyImages, batch_size: int = 64
) -> Callable[[TrainState], list[float]]:
    """Each member's mean loss over all `images`, as a function of the states."""
    images, sizes = replicate(population.mesh, np.asarray(images)), batch_sizes(len(images), batch_size)
    mean = functools.partial(mean_loss, num_images=len(images), batch_size=int(sizes[0]))

    def of_device(states: TrainState, images: Pixels) -> jax.Array:
        batches = ResidentBatches(images, jnp.arange(len(images)))
        return lax.map(lambda state: mean(state, jnp.float32(0), batches, 0, len(sizes)), states)

    in_specs = (P(AXIS), P())
    losses = jax.jit(
        jax.shard_map(of_device, mesh=population.mesh, in_specs=in_specs, out_specs=P(AXIS), check_vma=False)
    )
    return lambda states: population.fetch(losses(states, images)).tolist()


def _keys(member: TrainConfig) -> RandomKeys:
    """Of its parameters and of its orders, as of a single run."""
    return jax.random.split(jax.random.key(member.seed))


def _make_steps(mesh: Mesh, batch_size: int, loss_fn: LossFn, members_per_device: int) -> Wrapped:
    """`run_steps` of each member: `(states, losses, images, orders, keys, first, last) → states, losses`."""

    def of_device(states, losses, images, orders, keys, first, last):  # type: ignore[no-untyped-def]  # as above
        def of_member(member):  # type: ignore[no-untyped-def]
            state, losses, order, key = member
            batches = ResidentBatches(images, order)
            return run_steps(state, losses, batches, first, last, key, batch_size=batch_size, loss_fn=loss_fn)

        return lax.map(
            of_member, (states, losses, orders, keys), batch_size=members_per_device if members_per_device > 1 else None
        )

    each, all_of_it = P(AXIS), P()
    in_specs = (each, each, all_of_it, each, each, all_of_it, all_of_it)
    steps = jax.shard_map(of_device, mesh=mesh, in_specs=in_specs, out_specs=each, check_vma=False)
    return jax.jit(steps, donate_argnums=(0, 1))


def _compile_within_memory(
    make_steps: Callable[[int], Wrapped], arguments: Any, members_per_device: int, memory: int
) -> tuple[Wrapped, int]:
    """Compile the steps for so many members at a time, halved until they need no more than `memory` bytes."""
    while True:
        steps = make_steps(members_per_device)
        needed = steps.lower(*arguments, 0, 0).compile().memory_analysis()
        if members_per_device == 1 or needed is None or needed.temp_size_in_bytes <= memory:
            return steps, members_per_device
        members_per_device = -(-members_per_device // 2)
