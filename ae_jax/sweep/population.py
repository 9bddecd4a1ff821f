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

from ae_jax.config import TrainConfig
from ae_jax.data.batching import Resident, batch_sizes, epoch_order
from ae_jax.data.stored_images import AnyImages
from ae_jax.parallel.memory import free_bytes
from ae_jax.parallel.mesh import AXIS, make_mesh, replicate
from ae_jax.runs.program import initial_state, run_loss
from ae_jax.training.losses import LossFn
from ae_jax.training.state import TrainState
from ae_jax.training.steps import mean_loss, noise_key, train_steps
from ae_jax.types import AnyLosses, HeldOrder, MembersKeys, MembersStepLosses, Pixels, RandomKeys


@dataclasses.dataclass(frozen=True)
class Population:
    """The compiled steps of many runs and what they work on. Arrays lead with the members, padded to fill the devices.

    A member is what it would be alone: one at a time on as many threads to the bit, several at a time to rounding.
    """

    mesh: Mesh
    images: Pixels  # u8[n, 28, 28, 1], on every device
    sizes: np.ndarray  # i32[steps], images in each batch of an epoch
    steps: Wrapped
    at_once: int  # members that a device trains at a time
    shuffle_keys: MembersKeys  # of the members alone

    @property
    def num_members(self) -> int:
        """Without padding."""
        return len(self.shuffle_keys)

    @property
    def num_images(self) -> int:
        """Seen in an epoch, by all members together."""
        return self.num_members * len(self.images)

    def check(self, losses: np.ndarray, step: int) -> None:
        """A member may diverge."""

    def order(self, epoch: int) -> HeldOrder:
        """In which epoch 1, 2, … each visits the images."""
        keys = jax.vmap(jax.random.fold_in, (0, None))(self.shuffle_keys, epoch)
        return self.place(jax.vmap(epoch_order, (0, None))(keys, len(self.images)))

    def no_losses(self) -> MembersStepLosses:
        """Room for an epoch's losses."""
        return self.place(np.zeros((self.num_members, len(self.sizes)), np.float32))

    def take_steps(
        self, states: TrainState, losses: AnyLosses, orders: HeldOrder, first: int, last: int
    ) -> tuple[TrainState, AnyLosses]:
        """The epoch's steps `first <= i < last` of each; `states` and `losses` are used up."""
        keys = jax.vmap(noise_key)(self.shuffle_keys)
        return self.steps(states, losses, self.images, orders, self.place(keys), first, last)

    def place(self, tree: Any) -> Any:
        """Arrays `[num_members, …]` on the devices, each with its part; the last member fills up what is left."""
        rest = -self.num_members % self.mesh.size
        padded = jax.tree.map(lambda leaf: leaf[np.r_[: len(leaf), [-1] * rest]] if rest else leaf, tree)
        return jax.device_put(padded, NamedSharding(self.mesh, P(AXIS)))

    def fetch(self, tree: Any) -> Any:
        """The reverse, as NumPy arrays."""
        return jax.tree.map(lambda leaf: leaf[: self.num_members], jax.device_get(tree))


def population_mesh(num_devices: int | None, num_members: int) -> Mesh:
    """The devices that share the members, or None for all, on a CPU its cores; no more than there are members.

    Raises:
      InputError: there are not so many.
    """
    wanted = None if num_devices is None else min(num_devices, num_members)
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
    at_once: int | None = None,
    memory: int | None = None,
) -> tuple[Population, TrainState]:
    """The program of `members`, compiled, and the states to start from.

    Args:
      members: the settings of each, which differ in seed, learning rate and weight decay.
      images: `u8[n, 28, 28, 1]`.
      mesh: the devices that share the members.
      at_once: how many a device trains at a time, at most. None: one on a CPU, where that is fastest, all elsewhere.
      memory: the bytes that the program may need for it, or it trains fewer at a time. None: what a device has left.
    """
    sizes = batch_sizes(len(images), members[0].batch_size)
    shuffle_keys = jnp.stack([_keys(member)[1] for member in members])
    make_steps = functools.partial(_make_steps, mesh, int(sizes[0]), run_loss(members[0]))
    population = Population(mesh, replicate(mesh, np.asarray(images)), sizes, make_steps(1), 1, shuffle_keys)
    state = population.place(initial_states(members, len(images)))
    arguments = (state, population.no_losses(), population.images, population.order(1), population.place(shuffle_keys))
    device = mesh.devices.flat[0]
    if at_once is None:
        at_once = 1 if device.platform == "cpu" else -(-len(members) // mesh.size)
    steps, at_once = _fitting(make_steps, arguments, at_once, free_bytes(device) if memory is None else memory)
    return dataclasses.replace(population, steps=steps, at_once=at_once), state


def make_test_losses(
    population: Population, images: AnyImages, batch_size: int = 64
) -> Callable[[TrainState], list[float]]:
    """Each member's mean loss over all `images`, as a function of the states."""
    images, sizes = replicate(population.mesh, np.asarray(images)), batch_sizes(len(images), batch_size)
    mean = functools.partial(mean_loss, num_images=len(images), batch_size=int(sizes[0]))

    def of_device(states: TrainState, images: Pixels) -> jax.Array:
        feed = Resident(images, jnp.arange(len(images)))
        return lax.map(lambda state: mean(state, jnp.float32(0), feed, 0, len(sizes)), states)

    in_specs = (P(AXIS), P())
    losses = jax.jit(
        jax.shard_map(of_device, mesh=population.mesh, in_specs=in_specs, out_specs=P(AXIS), check_vma=False)
    )
    return lambda states: population.fetch(losses(states, images)).tolist()


def _keys(member: TrainConfig) -> RandomKeys:
    """Of its parameters and of its orders, as of a single run."""
    return jax.random.split(jax.random.key(member.seed))


def _make_steps(mesh: Mesh, batch_size: int, loss_fn: LossFn, at_once: int) -> Wrapped:
    """`train_steps` of each member: `(states, losses, images, orders, keys, first, last) → states, losses`."""

    def of_device(states, losses, images, orders, keys, first, last):  # type: ignore[no-untyped-def]  # as above
        def of_member(member):  # type: ignore[no-untyped-def]
            state, losses, order, key = member
            feed = Resident(images, order)
            return train_steps(state, losses, feed, first, last, key, batch_size=batch_size, loss_fn=loss_fn)

        return lax.map(of_member, (states, losses, orders, keys), batch_size=at_once if at_once > 1 else None)

    each, all_of_it = P(AXIS), P()
    in_specs = (each, each, all_of_it, each, each, all_of_it, all_of_it)
    steps = jax.shard_map(of_device, mesh=mesh, in_specs=in_specs, out_specs=each, check_vma=False)
    return jax.jit(steps, donate_argnums=(0, 1))


def _fitting(make_steps: Callable[[int], Wrapped], arguments: Any, at_once: int, memory: int) -> tuple[Wrapped, int]:
    """The steps, compiled, with `at_once` members at a time, or half as many until they need no more than `memory`."""
    while True:
        steps = make_steps(at_once)
        needed = steps.lower(*arguments, 0, 0).compile().memory_analysis()
        if at_once == 1 or needed is None or needed.temp_size_in_bytes <= memory:
            return steps, at_once
        at_once = -(-at_once // 2)
