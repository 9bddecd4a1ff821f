"""Contenders: training programs to time, each in its own process. Only this module knows how ae_jax's runs train.

In one process, the idle threads of one framework would slow down the other, and JAX fixes its number of CPU devices.
"""

import contextlib
import dataclasses
import importlib.util
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ae_jax.config import TrainConfig
from ae_jax.data.batching import epoch_order, num_examples
from ae_jax.data.datasets import Dataset, load_splits
from ae_jax.parallel.mesh import AXIS, make_mesh
from ae_jax.parallel.steps import compile_evaluate, compile_program, replicate
from ae_jax.runs.setup import Splits, epoch_key, initial_state, run_loss, run_mesh
from ae_jax.sweep.train import compile_members, initial_states
from ae_jax.training.loop import noise_key
from ae_jax.types import HostImages

Table: TypeAlias = dict[str, dict[str, Any]]  # name of a row -> column -> a number or a text
NUM_SEEDS, SWEEP_STEPS = 8, 100


class Trainer(Protocol):
    """Training in a contender's process; an epoch visits every image once, in random order."""

    def train(self, num_steps: int) -> None:
        """Run the next steps and wait for their results."""


class Task(NamedTuple):
    """A contender, its settings and its images."""

    name: str
    config: TrainConfig
    dataset: str
    num_images: int | None = None  # use only the first ones; None: all
    one_core: bool = False  # pin the process to one CPU core


class Contender:
    """The process of a contender. It builds in the background, so that several build at once; `error` waits for it."""

    def __init__(self, task: Task) -> None:
        spawn, ignore_ctrl_c = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
        self._process = ProcessPoolExecutor(1, spawn, initializer=signal.signal, initargs=ignore_ctrl_c)
        self._built = self._process.submit(_build, task)

    def error(self) -> str | None:
        """The error of a failed build, such as a missing compiler, or None."""
        error = self._built.exception()
        return f"{type(error).__name__}: {error}".splitlines()[0] if error else None

    def train(self, num_steps: int) -> float:
        """Run the next steps and return their time in seconds."""
        return self._process.submit(_train, num_steps).result()

    def test_loss(self) -> float:
        """The current mean loss over all test images."""
        return self._process.submit(_test_loss).result()

    def close(self) -> None:
        """End the process."""
        self._process.shutdown()


@contextlib.contextmanager
def running(tasks: Mapping[str, Task]) -> Iterator[tuple[dict[str, Contender], Table]]:
    """Start contenders; yield those that built, and for each of the others a row with the reason."""
    has_torch = importlib.util.find_spec("torch") is not None
    absent = {key for key, task in tasks.items() if task.name.startswith("PyTorch") and not has_torch}
    contenders = {key: Contender(task) for key, task in tasks.items() if key not in absent}
    try:
        errors = dict.fromkeys(absent, "PyTorch is not installed")
        errors |= {key: error for key, contender in contenders.items() if (error := contender.error())}
        missing = {key: {"missing": errors[key]} for key in tasks if key in errors}
        yield {key: contender for key, contender in contenders.items() if key not in missing}, missing
    finally:
        for contender in contenders.values():
            contender.close()


class AeJax:
    """A run of ae_jax without its files: the same compiled program on the same devices."""

    def __init__(self, config: TrainConfig, images: HostImages) -> None:
        self._config, self._mesh = config, run_mesh(config)
        self._initial = jax.device_get(initial_state(config, images))
        self.restart()
        num_steps, loss_fn = config.steps_per_epoch, run_loss(config)
        self._program = compile_program(
            self._mesh, images, self._state, batch_size=config.batch_size, num_steps=num_steps, loss_fn=loss_fn
        )

    def restart(self) -> None:
        """Begin again: warm-up steps would shift the schedule."""
        self._state, self._step = replicate(self._mesh, self._initial), 0

    def train(self, num_steps: int) -> None:
        """Run the next steps and wait for their results."""
        program, end = self._program, self._step + num_steps
        while self._step < end:
            epoch, first = divmod(self._step, len(program.sizes))
            if first == 0:
                key = epoch_key(self._config, epoch + 1)
                order, losses = epoch_order(key, num_examples(program.data)), np.zeros(len(program.sizes), np.float32)
                self._metrics, *self._inputs = replicate(self._mesh, ({"loss": losses}, order, noise_key(key)))
            last = min(first + end - self._step, len(program.sizes))
            order, noise = self._inputs
            steps = (program.data, order, first, last, noise)
            self._state, self._metrics = program.run_steps(self._state, self._metrics, *steps)
            self._step += last - first
        jax.block_until_ready(self._state)

    def test_loss(self, images: HostImages) -> float:
        """The mean loss over all test images."""
        return compile_evaluate(self._mesh, images, self._state)(self._state)["loss"]


class Sweep:
    """Eight seeds trained as one program, as in a sweep, on the images of 100 steps: it shuffles them, too."""

    def __init__(self, config: TrainConfig, images: HostImages) -> None:
        images = images[: SWEEP_STEPS * config.batch_size]
        members = [dataclasses.replace(config, seed=seed) for seed in range(NUM_SEEDS)]
        mesh = make_mesh("auto", batch_size=NUM_SEEDS, images_per_core=1)
        self._states = jax.device_put(initial_states(members, images), NamedSharding(mesh, P(AXIS)))
        data = Splits(Dataset("", images, None), None, Dataset("", images[:64], None), "")
        self._train_members, _ = compile_members(members, mesh, data, self._states)

    def train(self, num_steps: int) -> None:
        """Run steps of each member, in multiples of 100."""
        for epoch in range(1, num_steps // SWEEP_STEPS + 1):
            self._states, _ = self._train_members(self._states, epoch)


class AllReduce:
    """The all-reduce of a step without its computation."""

    def __init__(self, config: TrainConfig, images: HostImages) -> None:
        mesh, params = run_mesh(config), initial_state(config, images).params
        size = 1 + sum(leaf.size for leaf in jax.tree.leaves(params))  # the loss and all gradients
        self._grads = replicate(mesh, np.zeros(size, np.float32))

        def all_reduces(array: jax.Array, repeats: int) -> jax.Array:
            return jax.lax.fori_loop(0, repeats, lambda _, x: jax.lax.psum(x, AXIS), array)

        self._all_reduces = jax.jit(jax.shard_map(all_reduces, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False))

    def train(self, num_steps: int) -> None:
        """Run as many all-reduces."""
        jax.block_until_ready(self._all_reduces(self._grads, num_steps))


def _make_trainer(name: str, config: TrainConfig, images: HostImages) -> Trainer:
    if name.startswith("PyTorch"):
        from benchmarks import torch_tutorial

        options = {"channels_last": "channels-last" in name, "compiled": "compiled" in name}
        return torch_tutorial.Trainer(config.arch, images, config.batch_size, **options)
    if name == "plain flax":
        from benchmarks import plain_flax

        return plain_flax.Trainer(config.arch, images, config.batch_size)
    own: dict[str, Callable[..., Trainer]] = {"ae_jax": AeJax, "sweep": Sweep, "all-reduce": AllReduce}
    return own[name](config, images)


_own: dict[str, Any] = {}  # of this process: its trainer and its test images


def _build(task: Task) -> None:
    if task.one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    train_set, test_set = load_splits(task.dataset)
    trainer = _make_trainer(task.name, task.config, train_set.images[: task.num_images])
    trainer.train(3)  # compiles
    if isinstance(trainer, AeJax):
        trainer.restart()
    _own.update(trainer=trainer, test_images=test_set.images)


def _train(num_steps: int) -> float:
    start = time.perf_counter()
    _own["trainer"].train(num_steps)
    return time.perf_counter() - start


def _test_loss() -> float:
    return float(_own["trainer"].test_loss(_own["test_images"]))
