"""A run's program: what its settings compile to, with its images on its devices; neither files nor terminal."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jax.stages import Wrapped

from ae_jax.choices import Arch
from ae_jax.config import TrainConfig
from ae_jax.data.batching import batch_sizes, epoch_order
from ae_jax.data.stored_images import AnyImages
from ae_jax.errors import DivergedError
from ae_jax.models.autoencoders import make_model
from ae_jax.models.torch_weights import torch_init
from ae_jax.parallel.loaders import Feeding, make_feeding
from ae_jax.parallel.memory import economise
from ae_jax.parallel.mesh import make_mean_loss, make_mesh, make_train_steps, replicate
from ae_jax.parallel.multihost import arrays_from_first
from ae_jax.training.losses import LossFn, denoising_loss, reconstruction_loss
from ae_jax.training.state import TrainState, create_train_state
from ae_jax.training.steps import noise_key
from ae_jax.types import AnyLosses, HeldOrder, Params, RandomKey, StepLosses

# What `--devices auto` means on a CPU: the least that a core's part of a batch has to be for that core to pay off as a
# JAX device of its own, measured on two cores. The convolutional model is 1.3 to 1.4 times as fast on two devices, at
# 16 images each and at 32. The linear model's step is mostly its optimizer, which every device repeats (0.8 times as
# fast at 32 images each): XLA's own threads serve it better.
IMAGES_PER_CORE: dict[Arch, int | None] = {"conv": 16, "linear": None, "conv-pool": 16}


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled steps of a run and what they work on."""

    mesh: Mesh
    feeding: Feeding  # the images' way to the devices
    sizes: np.ndarray  # i32[steps], images in each batch of an epoch
    steps: Wrapped  # from `make_train_steps`
    shuffle_key: RandomKey

    @property
    def num_images(self) -> int:
        """Seen in an epoch."""
        return len(self.feeding)

    def check(self, losses: np.ndarray, step: int) -> None:
        """Raise `DivergedError` where one of the losses, of the steps after `step`, is not finite."""
        bad = ~np.isfinite(losses)
        if bad.any():
            raise DivergedError(f"the loss is not finite at step {step + int(bad.argmax()) + 1}")

    @functools.cached_property
    def noise_key(self) -> RandomKey:
        """Of what is random in the loss."""
        return replicate(self.mesh, noise_key(self.shuffle_key))

    def order(self, epoch: int) -> HeldOrder:
        """In which epoch 1, 2, … visits the images."""
        return self.feeding.hold(epoch_order(jax.random.fold_in(self.shuffle_key, epoch), len(self.feeding)))

    def no_losses(self) -> StepLosses:
        """Room for an epoch's losses."""
        return replicate(self.mesh, np.zeros(len(self.sizes), np.float32))

    def take_steps(
        self, state: TrainState, losses: AnyLosses, order: HeldOrder, first: int, last: int
    ) -> tuple[TrainState, AnyLosses]:
        """The epoch's steps `first <= i < last`; `state` and `losses` are used up."""
        for feed, start, stop in self.feeding.feeds(order, first, last):
            state, losses = self.steps(state, losses, feed, start, stop, self.noise_key)
            jax.block_until_ready(losses)  # so that the feed's memory is free before the next one's is filled
        return state, losses


def run_mesh(config: TrainConfig) -> Mesh:
    """The devices of a run.

    Raises:
      InputError: there are not so many.
    """
    return make_mesh(config.num_devices, batch_size=config.batch_size, images_per_core=IMAGES_PER_CORE[config.arch])


def make_program(
    config: TrainConfig, images: AnyImages, mesh: Mesh | None = None, *, stream: bool = False
) -> tuple[Program, TrainState]:
    """The program of a run, compiled, and the state to start from.

    Args:
      config: the run's settings.
      images: `u8[n, 28, 28, 1]`, what it is trained on.
      mesh: the devices, by default `run_mesh`.
      stream: feed the images chunk by chunk.

    Raises:
      InputError: there are not so many devices.
    """
    mesh = mesh or run_mesh(config)
    sizes = batch_sizes(len(images), config.batch_size)
    init_key, shuffle_key = jax.random.split(jax.random.key(config.seed))
    state = arrays_from_first(initial_state(config, init_key, config.epochs * len(sizes)))
    steps = make_train_steps(mesh, int(sizes[0]), run_loss(config), stream=stream)
    feeding = make_feeding(mesh, images, config.batch_size, stream=stream)
    program = Program(mesh, feeding, sizes, steps, shuffle_key)
    state = replicate(mesh, state)
    _compile_ahead(steps, state, program.no_losses(), feeding.example(), 0, 0, program.noise_key, frugal=stream)
    return program, state


def run_loss(config: TrainConfig) -> LossFn:
    """What a run makes smaller."""
    return denoising_loss(config.noise) if config.noise else reconstruction_loss


def make_test_loss(
    mesh: Mesh, images: AnyImages, like: TrainState, batch_size: int = 64, *, stream: bool = False
) -> Callable[[TrainState], float]:
    """The mean loss over all `images`, compiled, as a function of a state such as `like` on the devices of `mesh`."""
    sizes = batch_sizes(len(images), batch_size)
    mean_loss = make_mean_loss(mesh, len(images), int(sizes[0]), stream=stream)
    feeding = make_feeding(mesh, images, batch_size, stream=stream)
    order = feeding.hold(np.arange(len(images), dtype=np.int32))

    _compile_ahead(mean_loss, like, replicate(mesh, np.float32(0)), feeding.example(), 0, 0, frugal=stream)

    def test_loss(state: TrainState) -> float:
        mean = replicate(mesh, np.float32(0))
        for feed, first, last in feeding.feeds(order, 0, len(sizes)):
            mean = jax.block_until_ready(mean_loss(state, mean, feed, first, last))
        return float(mean)

    return test_loss


def _compile_ahead(function: Wrapped, *arguments: Any, frugal: bool = False) -> None:
    """Have calls with such arguments find the program compiled; `frugal`: where memory is short."""
    function.lower(*arguments).compile()
    if frugal:
        economise()


def schedule(config: TrainConfig, num_steps: int) -> optax.Schedule | None:
    """Which share of the learning rate each step of a run of `num_steps` takes, or None where all take all of it."""
    return _schedule(config.schedule, min(round(config.warmup * num_steps), num_steps - 1), num_steps)


@functools.cache
def _schedule(name: str, warmup_steps: int, num_steps: int) -> optax.Schedule | None:
    """The same function for the same schedule: it is part of what states of one program have to share."""
    if name == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps, num_steps)
    return optax.warmup_constant_schedule(0.0, 1.0, warmup_steps) if warmup_steps else None


def initial_state(config: TrainConfig, key: RandomKey, num_steps: int, params: Params | None = None) -> TrainState:
    """The state that a run of `num_steps` steps begins with; `params`: from these instead of fresh ones."""
    model = make_model(config.arch, config.latent_dim, config.output, config.precision)
    return create_train_state(
        model,
        key,
        learning_rate=config.learning_rate,
        schedule=schedule(config, num_steps),
        weight_decay=config.weight_decay,
        weight_decay_mode=config.weight_decay_mode,
        betas=(config.beta1, config.beta2),
        params=torch_init(model, key) if config.init == "torch" and params is None else params,
    )
