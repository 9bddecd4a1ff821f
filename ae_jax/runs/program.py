"""The compiled steps of a run, with its images on its devices; no I/O."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Wrapped

from ae_jax.config import TrainConfig
from ae_jax.data.batching import batch_sizes, epoch_order
from ae_jax.data.stored_images import AnyImages
from ae_jax.errors import DivergedError
from ae_jax.parallel.loaders import Loader, make_loader
from ae_jax.parallel.memory import release_freed_memory
from ae_jax.parallel.multihost import broadcast_arrays
from ae_jax.parallel.sharded_steps import make_mean_loss, make_sharded_steps
from ae_jax.parallel.sharding import replicate
from ae_jax.runs.setup import initial_state, mean_pixel, run_loss, run_mesh, step_sizes
from ae_jax.training.state import TrainState
from ae_jax.training.steps import noise_key
from ae_jax.types import AnyLosses, Params, PlacedOrder, RandomKey, StepLosses


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled steps of a run and their data; implements `RunProgram`, which documents its methods."""

    mesh: Mesh
    loader: Loader
    sizes: np.ndarray  # i32[steps], images in each batch of an epoch
    compiled_steps: Wrapped  # from `make_sharded_steps`
    shuffle_key: RandomKey

    @property
    def num_images(self) -> int:
        return int(self.sizes.sum())

    def check(self, losses: np.ndarray, step: int) -> None:
        bad = ~np.isfinite(losses)
        if bad.any():
            raise DivergedError(f"the loss is not finite at step {step + int(bad.argmax()) + 1}")

    def check_params(self, params: Params, step: int) -> None:
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
            raise DivergedError(f"the parameters are not finite after step {step}")

    @functools.cached_property
    def noise_key(self) -> RandomKey:
        """The key of a stochastic loss."""
        return replicate(self.mesh, noise_key(self.shuffle_key))

    def order(self, epoch: int) -> PlacedOrder:
        return self.loader.place_order(epoch_order(jax.random.fold_in(self.shuffle_key, epoch), len(self.loader)))

    def no_losses(self) -> StepLosses:
        return replicate(self.mesh, np.zeros(len(self.sizes), np.float32))

    def run_steps(
        self, state: TrainState, losses: AnyLosses, order: PlacedOrder, first: int, last: int
    ) -> tuple[TrainState, AnyLosses]:
        for batches, start, stop in self.loader.chunks(order, first, last):
            state, losses = self.compiled_steps(state, losses, batches, start, stop, self.noise_key)
            jax.block_until_ready(losses)  # frees the chunk's memory before the next one fills its own
        return state, losses

    def place(self, tree: Any) -> Any:
        return replicate(self.mesh, tree)

    def fetch(self, tree: Any) -> Any:
        return jax.device_get(tree)

    def with_shuffle_key(self, key: RandomKey) -> "Program":
        return dataclasses.replace(self, shuffle_key=key)


def make_program(
    config: TrainConfig, images: AnyImages, mesh: Mesh | None = None, *, stream: bool = False
) -> tuple[Program, TrainState]:
    """Compile the program of a run and make its initial state.

    Args:
      config: the run's settings.
      images: the training images `u8[n, 28, 28, 1]`.
      mesh: the devices; default `run_mesh`.
      stream: stream the images in chunks.

    Raises:
      InputError: fewer devices exist.
    """
    mesh = mesh or run_mesh(config)
    sizes = step_sizes(config, len(images))
    init_key, shuffle_key = jax.random.split(jax.random.key(config.seed))
    mean = mean_pixel(images)
    state = broadcast_arrays(initial_state(config, init_key, config.epochs * len(sizes), mean_pixel=mean))
    steps = make_sharded_steps(mesh, int(sizes[0]), run_loss(config), stream=stream)
    loader = make_loader(mesh, images, config.batch_size, stream=stream)
    program = Program(mesh, loader, sizes, steps, shuffle_key)
    state = program.place(state)
    _compile_ahead(steps, state, program.no_losses(), loader.example(), 0, 0, program.noise_key, frugal=stream)
    return program, state


def make_test_loss(
    mesh: Mesh, images: AnyImages, like: TrainState, batch_size: int = 64, *, stream: bool = False
) -> Callable[[TrainState], float]:
    """Compile the mean loss over all `images`, as a function of a state such as `like` on the devices of `mesh`."""
    sizes = batch_sizes(len(images), batch_size)
    mean_loss = make_mean_loss(mesh, len(images), int(sizes[0]), stream=stream)
    loader = make_loader(mesh, images, batch_size, stream=stream)
    order = loader.place_order(np.arange(len(images), dtype=np.int32))

    _compile_ahead(mean_loss, like, replicate(mesh, np.float32(0)), loader.example(), 0, 0, frugal=stream)

    def test_loss(state: TrainState) -> float:
        mean = replicate(mesh, np.float32(0))
        for batches, first, last in loader.chunks(order, 0, len(sizes)):
            mean = jax.block_until_ready(mean_loss(state, mean, batches, first, last))
        return float(mean)

    return test_loss


def _compile_ahead(function: Wrapped, *arguments: Any, frugal: bool = False) -> None:
    """Compile for such arguments before the first call; `frugal`: memory is short."""
    function.lower(*arguments).compile()
    if frugal:
        release_freed_memory()
