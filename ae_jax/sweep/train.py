"""`ae-jax sweep`: seeds × learning rates × weight decays as one program, `train_epoch` mapped over the members.

The members are sharded over the devices, without any collective; a device trains one, or several (`vmap`), at a time.
Trained one at a time on as many threads of a CPU, a member equals its single run bit for bit.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ae_jax.config import SweepConfig, TrainConfig
from ae_jax.data.batching import batch_sizes
from ae_jax.parallel.mesh import AXIS, compiler_options, make_mesh
from ae_jax.parallel.steps import replicate
from ae_jax.runs.metadata import new_metadata
from ae_jax.runs.run_dir import EpochMetrics, History, Run, new_dir
from ae_jax.runs.setup import Splits, epoch_key, evaluation_loss, initial_state, load_data, run_loss
from ae_jax.sweep.report import conclude, report
from ae_jax.training.state import TrainState
from ae_jax.training.steps import evaluate, train_epoch
from ae_jax.types import Pixels

_POLL_SECONDS = 0.005  # between two looks at a computation; in between, a signal is obeyed
_Losses: TypeAlias = np.ndarray  # f32[members]


def train(config: SweepConfig) -> Path:
    """Train all members as one program, write the sweep's directory, print its metrics; return the directory.

    Raises:
      InputError: the data are unavailable, or the directory is taken or not writable.
      RunError: a file cannot be written, or all members diverged.
    """
    members = config.members
    num_devices = config.devices if config.devices == "auto" else min(config.devices, len(members))
    mesh = make_mesh(num_devices, batch_size=len(members), images_per_core=1)  # at most one device per member
    data = load_data(config, config.validation)
    run = Run(new_dir(config.run_dir, f"sweep-{config.arch}"), members[0], new_metadata(config, data, mesh))
    run.write_metadata()
    print(f"Training {run.title}: {len(members)} members on {mesh.size} devices, into {run.path}")
    states = _place(mesh, initial_states(members, data.train.images))
    train_members, measure = compile_members(members, mesh, data, states, config.members_per_device)
    histories: list[History] = [()] * len(members)
    for epoch in range(1, config.epochs + 1):
        start = time.perf_counter()
        states, train_losses = train_members(states, epoch)
        seconds = time.perf_counter() - start
        losses = {"train_loss": train_losses, **measure(states)}
        histories = _extend(histories, len(data.train.images), losses, members[0], seconds)
        report(run, histories)
    conclude(run, config, data, jax.device_get(states), histories)
    return run.path


def initial_states(members: Sequence[TrainConfig], images: Pixels) -> TrainState:
    """The initial states of the members on training images `u8[n, …]`, stacked, in host memory."""
    states = jax.device_get([initial_state(member, images) for member in members])
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def compile_members(
    members: Sequence[TrainConfig], mesh: Mesh, data: Splits, states: TrainState, members_per_device: int | None = None
) -> tuple[Callable[[TrainState, int], tuple[TrainState, _Losses]], Callable[[TrainState], dict[str, _Losses]]]:
    """Compile an epoch of all members, and their test and validation losses, for states such as `states`.

    The settings of the members differ in seed, learning rate and weight decay alone. A device trains
    `members_per_device` at a time; None: 1 on a CPU, the fastest there, else all.
    """
    first, num_members = members[0], len(members)
    if members_per_device is None:
        members_per_device = 1 if mesh.devices.flat[0].platform == "cpu" else math.ceil(num_members / mesh.size)
    sets = {"train": data.train, "test": data.test, "validation": data.validation}
    images = {name: replicate(mesh, each.images) for name, each in sets.items() if each}

    def keys(epoch: int) -> Any:
        return _place(mesh, jnp.stack([epoch_key(member, epoch) for member in members]))

    settings: dict[str, Any] = {
        "batch_size": first.batch_size,
        "num_steps": first.steps_per_epoch,
        "loss_fn": run_loss(first),
    }
    epoch = _map_members(functools.partial(train_epoch, **settings), mesh, members_per_device, donate=True)
    program = epoch.lower(states, images["train"], keys(1)).compile()
    loss_fn = evaluation_loss(first)
    test = _map_members(lambda state, images, _: evaluate(state, images, loss_fn=loss_fn), mesh)

    def train_members(states: TrainState, number: int) -> tuple[TrainState, _Losses]:
        states, metrics = _wait(program(states, images["train"], keys(number)))
        return states, np.asarray(metrics["loss"])[:num_members]

    def measure(states: TrainState) -> dict[str, _Losses]:
        metrics = {name: _wait(test(states, each, None)) for name, each in images.items() if name != "train"}
        kinds = {f"{name}_{kind}": x for name, each in metrics.items() for kind, x in each.items()}
        return {name: np.asarray(each)[:num_members] for name, each in kinds.items()}

    return train_members, measure


def _map_members(function: Callable[..., Any], mesh: Mesh, members_per_device: int = 1, *, donate: bool = False) -> Any:
    """Jit `function(state, images, key)` over stacked states and keys, `members_per_device` at a time."""

    def on_device(states: Any, images: Any, keys: Any) -> Any:
        batch_size = members_per_device if members_per_device > 1 else None
        return lax.map(lambda member: function(member[0], images, member[1]), (states, keys), batch_size=batch_size)

    in_specs = P(AXIS), P(), P(AXIS)
    mapped = jax.shard_map(on_device, mesh=mesh, in_specs=in_specs, out_specs=P(AXIS), check_vma=False)
    options = compiler_options(mesh.devices.flat)
    return jax.jit(mapped, donate_argnums=(0,) if donate else (), compiler_options=options)


def _place(mesh: Mesh, tree: Any) -> Any:
    """Shard arrays `[members, …]` over the devices, padded with copies of the last member."""
    padding = -len(jax.tree.leaves(tree)[0]) % mesh.size
    padded = jax.tree.map(lambda leaf: leaf[np.r_[: len(leaf), [-1] * padding]] if padding else leaf, tree)
    return jax.device_put(padded, NamedSharding(mesh, P(AXIS)))


def _wait(tree: Any) -> Any:
    """Wait for arrays in Python, so that a signal is obeyed meanwhile."""
    while not all(leaf.is_ready() for leaf in jax.tree.leaves(tree)):
        time.sleep(_POLL_SECONDS)
    return tree


def _extend(
    histories: list[History], num_images: int, losses: dict[str, _Losses], config: TrainConfig, seconds: float
) -> list[History]:
    """Add an epoch to the history of each member; the time of training is divided equally among the members."""
    epoch, sizes = len(histories[0]) + 1, batch_sizes(num_images, config.batch_size)[: config.steps_per_epoch]
    each = {"seconds": seconds / len(histories), "images_per_second": int(sizes.sum()) * len(histories) / seconds}
    values = [{name: float(loss[i]) for name, loss in losses.items()} for i in range(len(histories))]
    step = epoch * len(sizes)
    return [(*old, EpochMetrics(epoch, step, **each, **own)) for old, own in zip(histories, values, strict=True)]
