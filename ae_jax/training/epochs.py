"""Epochs, complete training runs and evaluation as pure, compiled functions of arrays."""

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp

from ae_jax.data.batching import ResidentBatches, batch_sizes, epoch_order
from ae_jax.system.decorators import jit
from ae_jax.training.losses import LossFn, reconstruction_loss
from ae_jax.training.state import TrainState, create_train_state
from ae_jax.training.steps import mean_loss, noise_key, run_steps
from ae_jax.types import EpochsMetrics, Metrics, Pixels, RandomKey, Scalar, Step


@jit(static_argnames=("batch_size", "loss_fn"))
def train_epoch(
    state: TrainState, images: Pixels, key: RandomKey, batch_size: int = 64, *, loss_fn: LossFn = reconstruction_loss
) -> tuple[TrainState, Metrics]:
    """Train one epoch in one compiled call: `train_step` on `batches(images, key, batch_size)`, up to rounding.

    Args:
      state: the initial state; not donated.
      images: `u8[n, …]`; `ValueError` for another dtype.
      key: for the shuffle, and for a stochastic loss.
      batch_size: images per step; the last of the `ceil(n / batch_size)` steps takes the remaining ones.
      loss_fn: as for `make_train_step`.

    Returns:
      The new state, and `{"loss": f32[]}`: the mean over the images, each at the step that trained on it.

    >>> state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    >>> state, metrics = ae_jax.train_epoch(state, np.zeros((150, 28, 28, 1), np.uint8), jax.random.key(1))
    >>> int(state.step)
    3
    """
    return _epoch(state, images, key, noise_key(key), batch_size, loss_fn)


def fit(
    key: RandomKey,
    images: Pixels,
    learning_rate: float | Scalar = 1e-3,
    weight_decay: float | Scalar = 1e-5,
    *,
    model: nn.Module,
    num_epochs: int = 10,
    batch_size: int = 64,
    loss_fn: LossFn = reconstruction_loss,
) -> tuple[TrainState, EpochsMetrics]:
    """Train a model from scratch as a pure function, so that `jax.vmap` trains many models at once.

    `key = jax.random.key(seed)` reproduces a command-line run with that seed.

    Args:
      key: for the initial parameters, the shuffles, and a stochastic loss.
      images: `u8[n, …]`; `ValueError` for another dtype.
      learning_rate: Adam's learning rate.
      weight_decay: decoupled weight decay.
      model: as for `create_train_state`.
      num_epochs: passes over the images.
      batch_size: images per step.
      loss_fn: as for `make_train_step`.

    Returns:
      The final state, and `{"loss": f32[num_epochs]}`, each epoch's loss as from `train_epoch`.

    >>> fit = functools.partial(ae_jax.fit, model=ae_jax.LinearAutoencoder(), num_epochs=2)
    >>> keys = jax.random.split(jax.random.key(0), 3)
    >>> states, metrics = jax.vmap(fit, in_axes=(0, None))(keys, np.zeros((64, 28, 28, 1), np.uint8))
    >>> metrics["loss"].shape
    (3, 2)
    """
    init_key, shuffle_key = jax.random.split(key)
    state = create_train_state(model, init_key, learning_rate=learning_rate, weight_decay=weight_decay)
    noise = noise_key(shuffle_key)

    def epoch(state: TrainState, number: Step) -> tuple[TrainState, Metrics]:
        return _epoch(state, images, jax.random.fold_in(shuffle_key, number), noise, batch_size, loss_fn)

    return lax.scan(epoch, state, jnp.arange(1, num_epochs + 1, dtype=jnp.int32))


@jit(static_argnames=("batch_size", "loss_fn"))
def evaluate(
    state: TrainState, images: Pixels, batch_size: int = 64, *, loss_fn: LossFn = reconstruction_loss
) -> Metrics:
    """Compute `{"loss": f32[]}`, the mean of a deterministic loss over all images `u8[n, …]`, in one compiled call."""
    n, sizes = len(images), batch_sizes(len(images), batch_size)
    start = (state, jnp.float32(0), ResidentBatches(images, jnp.arange(n, dtype=jnp.int32)), 0, len(sizes))
    return {"loss": mean_loss(*start, num_images=n, batch_size=int(sizes[0]), loss_fn=loss_fn)}


def _epoch(
    state: TrainState, images: Pixels, key: RandomKey, noise: RandomKey, batch_size: int, loss_fn: LossFn
) -> tuple[TrainState, Metrics]:
    batches, sizes = ResidentBatches(images, epoch_order(key, len(images))), batch_sizes(len(images), batch_size)
    start = (state, jnp.zeros(len(sizes), jnp.float32), batches, 0, len(sizes), noise)
    state, step_losses = run_steps(*start, batch_size=int(sizes[0]), loss_fn=loss_fn)
    return state, {"loss": jnp.average(step_losses, weights=sizes)}
