"""From a run's settings to its devices, images, model, loss, schedule and initial state."""

import functools
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax import numpy as jnp
from jax.sharding import Mesh

from ae_jax.config import Arch, Output, SharedConfig, TrainConfig
from ae_jax.data.batching import batch_sizes
from ae_jax.data.datasets import Dataset, dataset_digest, hold_out, load_splits
from ae_jax.errors import InputError
from ae_jax.models.autoencoders import Autoencoder, make_model, torch_init
from ae_jax.parallel.mesh import is_process_0, make_mesh, max_over_processes
from ae_jax.training.losses import LossFn, all_losses, cross_entropy_loss, denoising_loss, reconstruction_loss
from ae_jax.training.state import TrainState, create_train_state
from ae_jax.types import Params, Pixels, RandomKey, Scalar

# `--devices auto` on a CPU: the smallest shard of a batch for which another core pays off as a JAX device, measured on
# two cores. Two devices train the convolutional model 1.7 times as fast at 8 images per device, 2.0 times at 16, and
# the linear model, whose step is mostly its optimizer, 0.8 times as fast at 32: XLA's own threads serve it better.
IMAGES_PER_CORE: dict[Arch, int | None] = {"conv": 8, "linear": None, "conv-pool": 16}

# Kernels of linear that Muon leaves to Adam, 784×128: with them, a step takes twice as long, for the same test error.
_MUON_MAX_SIDE: dict[Arch, int] = {"linear": 64}


class Splits(NamedTuple):
    """The images of a run."""

    train: Dataset
    validation: Dataset | None  # held out of the training images
    test: Dataset
    digest: str  # of all


def run_mesh(config: TrainConfig) -> Mesh:
    """The devices of a run; `InputError` if there are fewer than it asks for."""
    return make_mesh(config.devices, batch_size=config.batch_size, images_per_core=IMAGES_PER_CORE[config.arch])


def load_data(config: SharedConfig, num_validation: int | None) -> Splits:
    """The images of a run or a sweep; `InputError` if there are none, or others in another process.

    The last ones are held out for validation: if `num_validation` is None 5,000, or a tenth of fewer than 50,000.
    """
    if not is_process_0():
        max_over_processes(0)  # waits for process 0, which downloads and prepares what the others read
    train_set, test_set = load_splits(config.dataset, data_dir=config.data_dir, manual_dir=config.manual_dir)
    if is_process_0():
        max_over_processes(0)
    digest = dataset_digest(train_set, test_set)
    if max_over_processes(prefix := int(digest[:7], 16)) != prefix:  # 28 bits, as integers have 32
        raise InputError(f"{train_set.name} differs between the processes; give all of them the same files.")
    n = len(train_set.images)
    if num_validation is None:
        num_validation = 5000 if n >= 50_000 else n // 10
    return Splits(*hold_out(train_set, num_validation), test_set, digest)


def run_model(config: TrainConfig) -> Autoencoder:
    """The model of a run."""
    names = ("latent_dim", "output", "precision", "hidden", "activation")
    return make_model(config.arch, **{name: getattr(config, name) for name in names})


def run_loss(config: TrainConfig) -> LossFn:
    """The loss that a run minimises."""
    if config.noise:
        return denoising_loss(config.noise, config.loss)
    return cross_entropy_loss if config.loss == "cross-entropy" else reconstruction_loss


def evaluation_loss(config: TrainConfig) -> LossFn:
    """The loss that is measured on validation and test images: the squared error, beside it the cross-entropy."""
    return all_losses if config.loss == "cross-entropy" else reconstruction_loss


def epoch_key(config: TrainConfig, epoch: int) -> RandomKey:
    """The key of epoch 1, 2, …: its shuffle and, for a stochastic loss, its noise."""
    return jax.random.fold_in(_keys(config)[1], epoch)


def _keys(config: TrainConfig) -> jax.Array:
    """The keys of the initial parameters and of the epochs."""
    return jax.random.split(jax.random.key(config.seed))


def initial_state(config: TrainConfig, images: Pixels, params: Params | None = None) -> TrainState:
    """The initial state of a run on `images u8[n, …]`, with fresh parameters unless `params` are given."""
    num_steps = config.epochs * len(batch_sizes(len(images), config.batch_size)[: config.steps_per_epoch])
    model, key, is_fresh = run_model(config), _keys(config)[0], params is None
    if is_fresh and config.init == "torch":
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
        muon_max_side=_MUON_MAX_SIDE.get(config.arch) if model.hidden == type(model).hidden else None,
    )
    if is_fresh and config.init == "mean":
        mean_pixel = float(np.mean(images[:1000])) / 255
        state = state.replace(params=_set_output_bias(mean_pixel, state.params, model.output))
    return state


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


# Runs once, so compile at level 1: half the time, same bits.
_torch_init = jax.jit(torch_init, static_argnums=0, compiler_options={"xla_backend_optimization_level": 1})


@functools.partial(jax.jit, static_argnames="output")
def _set_output_bias(pixel: float | Scalar, params: Params, output: Output) -> Params:
    """Start with a constant output of `pixel`, in [0, 1]: `params` with that bias of the output layer."""
    pixel = jnp.clip(pixel, 1e-3, 1 - 1e-3)
    logit = jnp.log(pixel / (1 - pixel))
    name = max((name for name in params if name.startswith("decoder")), key=lambda name: int(name.rpartition("_")[2]))
    bias = jnp.full_like(params[name]["bias"], logit / 2 if output == "tanh" else logit)  # tanh(x/2) = 2 sigmoid(x) - 1
    return {**params, name: {**params[name], "bias": bias}}
