"""What is compared with what: each contender a process of its own that trains when it is told to.

Processes, because two frameworks in one keep each other's idle threads busy, and because JAX decides once a process how
many devices a CPU is.
"""

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jax.stages import Wrapped

from ae_jax.config import TrainConfig
from ae_jax.data.datasets import open_splits
from ae_jax.parallel.mesh import AXIS
from ae_jax.parallel.multihost import join_processes
from ae_jax.parallel.sharding import replicate
from ae_jax.runs.program import make_program, make_test_loss
from ae_jax.runs.setup import initial_state, run_mesh
from ae_jax.sweep.population import make_population, population_mesh
from ae_jax.types import AnyLosses, HostImages


class Trainer(Protocol):
    """Something that trains and waits until it is done; every image once before any comes again."""

    def train(self, num_steps: int) -> None:
        """Take the next steps."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a contender is to train on."""

    config: TrainConfig
    dataset: str
    num_images: int | None = None  # the first so many, or all
    one_core: bool = False  # of a CPU


class Contender:
    """A contender's process. `start` begins to build it, so that several are built at once; `ready` waits for it."""

    def __init__(self, name: str, task: Task) -> None:
        self.name = name
        self._connection, child = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(child, name, task), daemon=True)
        self._process.start()
        child.close()

    def ready(self) -> str | None:
        """Wait until it is built and has taken its first steps; why not, if it could not be."""
        return self._receive()

    def train(self, num_steps: int) -> float:
        """Seconds that it takes for its next steps."""
        self._connection.send(num_steps)
        return float(self._receive())

    def test_loss(self) -> float:
        """The mean over all test images, now."""
        self._connection.send(None)
        return float(self._receive())

    def dismiss(self) -> None:
        """Have the process end, in its own time."""
        self._connection.close()

    def close(self) -> None:
        """End the process."""
        self.dismiss()
        self._process.join(10)
        self._process.kill()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            return "its process ended"


def _serve(connection: Connection, name: str, task: Task) -> None:
    if task.one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    images, test_images = (dataset.load().images for dataset in open_splits(task.dataset))
    try:
        trainer = {**BUILDERS, **WAYS}[name](task.config, images[: task.num_images])
        if task.config.schedule == "constant":  # a schedule counts its steps
            trainer.train(3)
    except Exception as error:  # whatever PyTorch or its compiler lack here; the others go on
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0])
        return
    connection.send(None)
    while True:
        try:
            num_steps = connection.recv()
        except EOFError:
            return
        start = time.perf_counter()
        if num_steps is None:
            connection.send(trainer.evaluate(test_images))  # type: ignore[attr-defined]
        else:
            trainer.train(num_steps)
            connection.send(time.perf_counter() - start)


class AeJaxTrainer:
    """This package's run without its files: the same compiled program on the same devices."""

    def __init__(self, config: TrainConfig, images: HostImages) -> None:
        _meet(config)
        self._program, self._state = make_program(config, images, stream=config.stream)
        self._epoch = self._first = 0

    def train(self, num_steps: int) -> None:
        """Take the next steps."""
        steps_per_epoch = len(self._program.sizes)
        while num_steps:
            if self._first == 0:
                self._epoch += 1
                self._losses: AnyLosses = self._program.no_losses()
                self._order = self._program.order(self._epoch)
            last = min(self._first + num_steps, steps_per_epoch)
            self._state, self._losses = self._program.run_steps(
                self._state, self._losses, self._order, self._first, last
            )
            num_steps -= last - self._first
            self._first = last % steps_per_epoch
        jax.block_until_ready(self._state)

    def evaluate(self, images: HostImages) -> float:
        """The mean loss over the images."""
        return make_test_loss(self._program.mesh, images, self._state)(self._state)


class PopulationTrainer:
    """Eight seeds at once."""

    def __init__(self, config: TrainConfig, images: HostImages) -> None:
        members = [dataclasses.replace(config, seed=seed) for seed in range(NUM_SEEDS)]
        self._population, self._states = make_population(members, images, population_mesh("auto", NUM_SEEDS))
        self._orders = self._population.order(1)

    def train(self, num_steps: int) -> None:
        """Take steps of each, always the epoch's first."""
        losses = self._population.no_losses()
        self._states, _ = self._population.run_steps(self._states, losses, self._orders, 0, num_steps)
        jax.block_until_ready(self._states)


class AllReduce:
    """The all-reduce of a step, alone."""

    def __init__(self, config: TrainConfig, images: HostImages) -> None:
        _meet(config)
        mesh = run_mesh(config)
        params = initial_state(config, jax.random.key(0), 1).params
        self._numbers = replicate(mesh, np.zeros(1 + sum(leaf.size for leaf in jax.tree.leaves(params)), np.float32))
        self._sum = _make_all_reduces(mesh)

    def train(self, num_steps: int) -> None:
        """So many sums over the devices, one after another."""
        jax.block_until_ready(self._sum(self._numbers, num_steps))


def _make_all_reduces(mesh: Mesh) -> Wrapped:
    """Jit `times` all-reduces of an array, one after another: `(f32[n], times) -> f32[n]`."""

    def sums(numbers: jax.Array, times: int) -> jax.Array:
        return jax.lax.fori_loop(0, times, lambda _, x: jax.lax.psum(x, AXIS), numbers)

    return jax.jit(jax.shard_map(sums, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False))


def _meet(config: TrainConfig) -> None:
    """Meet the other process, if there is one, for good."""
    processes = (config.distributed or bool(config.coordinator), config.coordinator, config.num_processes)
    join_processes(*processes, config.process_id).__enter__()


def _plain_flax(config: TrainConfig, images: HostImages) -> Trainer:
    from benchmarks.plain_flax import Trainer

    return Trainer(config.arch, images, config.batch_size)


def _torch(*, channels_last: bool, compiled: bool) -> Callable[[TrainConfig, HostImages], Trainer]:
    def build(config: TrainConfig, images: HostImages) -> Trainer:
        from benchmarks.torch_tutorial import Trainer

        return Trainer(config.arch, images, config.batch_size, channels_last=channels_last, compiled=compiled)

    return build


NUM_SEEDS = 8
WAYS: Mapping[str, Callable[[TrainConfig, HostImages], Trainer]] = {
    "population": PopulationTrainer,
    "all-reduce": AllReduce,
}
BUILDERS: Mapping[str, Callable[[TrainConfig, HostImages], Trainer]] = {
    "ae_jax": AeJaxTrainer,
    "plain flax": _plain_flax,
    "PyTorch eager": _torch(channels_last=False, compiled=False),
    "PyTorch compiled": _torch(channels_last=False, compiled=True),
    "PyTorch channels-last": _torch(channels_last=True, compiled=False),
    "PyTorch channels-last compiled": _torch(channels_last=True, compiled=True),
}
