"""From a run's settings to its model, initial state, schedule, loss and devices."""

import functools

import jax
import numpy as np
import optax
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Int32

from ae_jax.choices import Arch, Output
from ae_jax.config import MAX_STEPS, TrainConfig
from ae_jax.data.batching import batch_sizes
from ae_jax.data.stored_images import AnyImages
from ae_jax.errors import InputError
from ae_jax.models.autoencoders import Autoencoder, make_model
from ae_jax.models.torch_weights import torch_init
from ae_jax.parallel.mesh import make_mesh
from ae_jax.training.losses import LossFn, denoising_loss, reconstruction_loss
from ae_jax.training.state import TrainState, create_train_state
from ae_jax.types import Params, RandomKey, Scalar

# `--devices auto` on a CPU: the smallest shard of a batch for which another core pays off as a JAX device, measured on
# two cores. Two devices train the convolutional model 1.7 times as fast at 8 images per device, 2.0 times at 16, and
# the linear model, whose step is mostly its optimizer, 0.8 times as fast at 32: XLA's own threads serve it better.
IMAGES_PER_CORE: dict[Arch, int | None] = {"conv": 8, "linear": None, "conv-pool": 16}


def run_model(config: TrainConfig) -> Autoencoder:
    """The model of a run."""
    return make_model(config.arch, config.latent_dim, config.output, config.precision)


def run_loss(config: TrainConfig) -> LossFn:
    """The loss that a run minimises."""
    return denoising_loss(config.noise) if config.noise else reconstruction_loss


def run_mesh(config: TrainConfig) -> Mesh:
    """The devices of a run.

    Raises:
      InputError: fewer devices exist.
    """
    return make_mesh(config.devices, batch_size=config.batch_size, images_per_core=IMAGES_PER_CORE[config.arch])


def initial_state(
    config: TrainConfig, key: RandomKey, num_steps: int, *, mean_pixel: float = 0.5, params: Params | None = None
) -> TrainState:
    """The initial state of a run of `num_steps` steps, with fresh parameters unless `params` are given.

    `mean_pixel` in [0, 1] is that of the training images, for `--init mean`.

    Raises:
      InputError: there are too many steps to count in 32 bits.
    """
    if num_steps > MAX_STEPS:
        raise InputError(f"--epochs {config.epochs} are {num_steps:,} steps; they must be below 2^31.")
    model = run_model(config)
    if params is None and config.init == "torch":
        params = _torch_init(model, key)
    state = create_train_state(
        model,
        key,
        params=params,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        schedule=schedule(config, num_steps),
        weight_decay=config.weight_decay,
        weight_decay_mode=config.weight_decay_mode,
        betas=(config.beta1, config.beta2),
    )
    if params is None and config.init == "mean":
        state = state.replace(params=_with_output_at(mean_pixel, state.params, model.output))
    return state


# It runs once: the same bits, compiled in half the time.
_torch_init = jax.jit(torch_init, static_argnums=0, compiler_options={"xla_backend_optimization_level": 1})


@functools.partial(jax.jit, static_argnames="output")
def _with_output_at(pixel: float | Scalar, params: Params, output: Output) -> Params:
    """`params` with the output layer's bias at which the activation gives `pixel`."""
    pixel = jnp.clip(pixel, 1e-3, 1 - 1e-3)
    logit = jnp.log(pixel / (1 - pixel))
    name = max(name for name in params if name.startswith("decoder"))
    bias = jnp.full_like(params[name]["bias"], logit / 2 if output == "tanh" else logit)  # tanh(x/2) = 2 sigmoid(x) - 1
    return {**params, name: {**params[name], "bias": bias}}


def mean_pixel(images: AnyImages) -> float:
    """The mean pixel of the first 1,000 images, in [0, 1]."""
    return float(np.mean(images[:1000])) / 255


def step_sizes(config: TrainConfig, num_images: int) -> Int32[np.ndarray, "steps"]:
    """The number of images in each step of an epoch."""
    return batch_sizes(num_images, config.batch_size)[: config.steps_per_epoch]


def schedule(config: TrainConfig, num_steps: int) -> optax.Schedule | None:
    """The fraction of the peak learning rate at each of `num_steps` steps, or None for a constant rate."""
    return _schedule(config.schedule, min(round(config.warmup * num_steps), num_steps - 1), num_steps)


@functools.cache  # equal schedules must be the same function: states that share a program share their optimizer
def _schedule(name: str, warmup_steps: int, num_steps: int) -> optax.Schedule | None:
    if name == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps, num_steps)
    if name == "linear":
        ramps = optax.linear_schedule(0.0, 1.0, warmup_steps), optax.linear_schedule(1.0, 0.0, num_steps - warmup_steps)
        return optax.join_schedules(ramps, [warmup_steps])
    return optax.warmup_constant_schedule(0.0, 1.0, warmup_steps) if warmup_steps else None
