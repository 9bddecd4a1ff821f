"""Contenders: training programs to time, each in its own process and trained on request.

In one process, the idle threads of one framework would slow down the other, and JAX fixes its number of CPU devices.
"""

import dataclasses
import functools
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import PartitionSpec as P

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
    """Protocol of a contender; an epoch visits every image once, in random order."""

    def train(self, num_steps: int) -> None:
        """Run the next steps and wait for their results."""


@dataclasses.dataclass(frozen=True)
class Task:
    """The settings and images of a contender."""

    config: TrainConfig
    dataset: str
    num_images: int | None = None  # use only the first ones; None: all
    one_core: bool = False  # pin the process to one CPU core


class Contender:
    """The process of a contender. It builds in the background, so that several build at once; `ready` waits for it."""

    def __init__(self, name: str, task: Task) -> None:
        self.name = name
        self._connection, child = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(child, name, task), daemon=True)
        self._process.start()
        child.close()

    def ready(self) -> str | None:
        """Wait for the build and the warm-up steps; return the error message of a failed build, or None."""
        return self._receive()

    def train(self, num_steps: int) -> float:
        """Run the next steps and return their time in seconds."""
        self._connection.send(num_steps)
        return float(self._receive())

    def test_loss(self) -> float:
        """Return the current mean loss over all test images."""
        self._connection.send(None)
        return float(self._receive())

    def disconnect(self) -> None:
        """Close the connection, which makes the process exit."""
        self._connection.close()

    def close(self) -> None:
        """Disconnect and wait for the process to exit, at most 10 s."""
        self.disconnect()
        self._process.join(10)
        self._process.kill()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            return "its process exited"


def _serve(connection: Connection, name: str, task: Task) -> None:
    if task.one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    images, test_images = (dataset.load().images for dataset in open_splits(task.dataset))
    try:
        trainer = {**BUILDERS, **SCALING_BUILDERS}[name](task.config, images[: task.num_images])
        if task.config.schedule == "constant":  # warm-up steps would shift any other schedule
            trainer.train(3)
    except Exception as error:  # such as a missing PyTorch or compiler; the others still run
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
    """A run of ae_jax without its files: the same compiled program on the same devices."""

    def __init__(self, config: TrainConfig, images: HostImages) -> None:
        _join(config)
        self._program, self._state = make_program(config, images, stream=config.stream)
        self._epoch = self._first = 0
        copy = jax.tree.map(jnp.copy, self._state)  # warm-up steps on the state itself would shift its schedule
        self._program.run_steps(copy, self._program.no_losses(), self._program.order(1), 0, 3)

    def train(self, num_steps: int) -> None:
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
        return make_test_loss(self._program.mesh, images, self._state)(self._state)


class SweepTrainer:
    """Eight seeds trained as one program, as in a sweep."""

    def __init__(self, config: TrainConfig, images: HostImages) -> None:
        members = [dataclasses.replace(config, seed=seed) for seed in range(NUM_SEEDS)]
        self._population, self._states = make_population(members, images, population_mesh("auto", NUM_SEEDS))
        self._orders = self._population.order(1)

    def train(self, num_steps: int) -> None:
        """Run the first `num_steps` steps of an epoch for each seed."""
        losses = self._population.no_losses()
        self._states, _ = self._population.run_steps(self._states, losses, self._orders, 0, num_steps)
        jax.block_until_ready(self._states)


class AllReduceOnly:
    """The all-reduce of a step without its computation."""

    def __init__(self, config: TrainConfig, images: HostImages) -> None:
        _join(config)
        mesh = run_mesh(config)
        params = initial_state(config, jax.random.key(0), 1).params
        size = 1 + sum(leaf.size for leaf in jax.tree.leaves(params))  # the loss and all gradients
        self._grads = replicate(mesh, np.zeros(size, np.float32))

        def all_reduces(array: jax.Array, repeats: int) -> jax.Array:
            return jax.lax.fori_loop(0, repeats, lambda _, x: jax.lax.psum(x, AXIS), array)

        self._all_reduces = jax.jit(jax.shard_map(all_reduces, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False))

    def train(self, num_steps: int) -> None:
        jax.block_until_ready(self._all_reduces(self._grads, num_steps))


def _join(config: TrainConfig) -> None:
    """Join the distributed job, if any, until the process exits."""
    processes = (config.distributed or bool(config.coordinator), config.coordinator, config.num_processes)
    join_processes(*processes, config.process_id).__enter__()


def _plain_flax(config: TrainConfig, images: HostImages) -> Trainer:
    from benchmarks.plain_flax import Trainer

    return Trainer(config.arch, images, config.batch_size)


def _torch(config: TrainConfig, images: HostImages, *, channels_last: bool = False, compiled: bool = False) -> Trainer:
    from benchmarks.torch_tutorial import Trainer

    return Trainer(config.arch, images, config.batch_size, channels_last=channels_last, compiled=compiled)


NUM_SEEDS = 8
Builder: TypeAlias = Callable[[TrainConfig, HostImages], Trainer]
SCALING_BUILDERS: Mapping[str, Builder] = {"sweep": SweepTrainer, "all-reduce": AllReduceOnly}
BUILDERS: Mapping[str, Builder] = {
    "ae_jax": AeJaxTrainer,
    "plain flax": _plain_flax,
    "PyTorch eager": _torch,
    "PyTorch compiled": functools.partial(_torch, compiled=True),
    "PyTorch channels-last": functools.partial(_torch, channels_last=True),
    "PyTorch channels-last compiled": functools.partial(_torch, channels_last=True, compiled=True),
}
