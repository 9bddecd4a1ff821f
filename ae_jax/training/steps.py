"""Training and evaluation as pure, jitted functions: steps, epochs, and complete runs."""

import functools

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp

from ae_jax.data.batching import batch_sizes, epoch_order
from ae_jax.training.loop import mean_loss, noise_key, run_steps, step
from ae_jax.training.losses import LossFn, image_keys, losses, reconstruction_loss
from ae_jax.training.state import TrainState, create_train_state
from ae_jax.types import EpochsMetrics, Images, Metrics, PackedPixels, PerImage, Pixels, RandomKey, Scalar, Step


@functools.cache
def make_train_step(loss_fn: LossFn) -> jax.stages.Wrapped:
    """Make a jitted, pure train step for a custom loss.

    Args:
      loss_fn: `(model, params, images f32[batch, …]) → f32[batch]`, one value per image; the step minimises their mean.
        A stochastic loss has a fourth parameter named `keys`: `key[batch]`, a different one per image and step.

    Returns:
      `(state, images, weights=None, key=None) → state, {"loss": f32[]}`. `weights: f32[batch]`, not all 0, make it a
      weighted mean; with 0 for padding, a smaller batch needs no recompilation. `keys` derive from `key` and the
      state's step, so that one `key` serves all steps. The step raises `ValueError` if `loss_fn` does not return one
      value per image, or is stochastic and there is no `key`.
    """

    @jax.jit
    def train_step(
        state: TrainState, images: Images, weights: PerImage | None = None, key: RandomKey | None = None
    ) -> tuple[TrainState, Metrics]:
        """Take one optimizer step: `state, images f32[batch, …] in [0, 1] → state, {"loss": f32[]}`, jitted and pure.

        Other arguments as for `make_train_step`; `ae_jax.train_step` minimises `reconstruction_loss`.

        >>> state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
        >>> state, metrics = ae_jax.train_step(state, jnp.zeros((64, 28, 28, 1)))
        >>> int(state.step), metrics["loss"].shape
        (1, ())
        """
        weights = jnp.ones(len(images), jnp.float32) if weights is None else jnp.asarray(weights, jnp.float32)
        if weights.shape != images.shape[:1]:
            raise ValueError(f"weights must be one per image, f32[{len(images)}], not of shape {weights.shape}")
        state, loss = step(state, jnp.asarray(images), weights / jnp.sum(weights), key, loss_fn)
        return state, {"loss": loss}

    return train_step


train_step = make_train_step(reconstruction_loss)


@functools.partial(jax.jit, static_argnames="loss_fn")
def eval_step(
    state: TrainState, images: Images, *, loss_fn: LossFn = reconstruction_loss, key: RandomKey | None = None
) -> Metrics:
    """Compute `{"loss": f32[]}`, the mean over a batch `f32[batch, …]` in [0, 1]; `key` as for `make_train_step`."""
    keys = image_keys(loss_fn, key, state.step, len(images))
    return {"loss": jnp.mean(losses(loss_fn, state.model, state.params, jnp.asarray(images), keys))}


@functools.partial(jax.jit, static_argnames=("batch_size", "num_steps", "loss_fn"))
def train_epoch(
    state: TrainState,
    images: Pixels | PackedPixels,
    key: RandomKey,
    batch_size: int = 64,
    *,
    num_steps: int | None = None,
    loss_fn: LossFn = reconstruction_loss,
) -> tuple[TrainState, Metrics]:
    """Train one epoch in one compiled call: `train_step` on `batches(images, key, batch_size)`, up to rounding.

    Args:
      state: the initial state; not donated.
      images: `u8[n, …]`; `ValueError` for another dtype.
      key: for the shuffle, and for a stochastic loss.
      batch_size: images per step; the last of the `ceil(n / batch_size)` steps takes the remaining ones.
      num_steps: at most so many steps; None: as many as visit every image.
      loss_fn: as for `make_train_step`.

    Returns:
      The new state, and `{"loss": f32[]}`: the mean over the images, each at the step that trained on it.

    >>> state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    >>> state, metrics = ae_jax.train_epoch(state, np.zeros((150, 28, 28, 1), np.uint8), jax.random.key(1))
    >>> int(state.step)
    3
    """
    sizes = batch_sizes(len(images), batch_size)[:num_steps]
    zeros, order = jnp.zeros(len(sizes), jnp.float32), epoch_order(key, len(images))
    state, step_losses = run_steps(
        state, zeros, images, order, 0, len(sizes), noise_key(key), batch_size=int(sizes[0]), loss_fn=loss_fn
    )
    return state, {"loss": jnp.average(step_losses, weights=sizes)}


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

    `key = jax.random.key(seed)` reproduces a command-line run with that seed. The optimizer is Adam with decoupled
    weight decay; arguments as for `create_train_state` and `train_epoch`.

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

    def epoch(state: TrainState, number: Step) -> tuple[TrainState, Metrics]:
        return train_epoch(state, images, jax.random.fold_in(shuffle_key, number), batch_size, loss_fn=loss_fn)

    return lax.scan(epoch, state, jnp.arange(1, num_epochs + 1, dtype=jnp.int32))


@functools.partial(jax.jit, static_argnames=("batch_size", "loss_fn"))
def evaluate(
    state: TrainState, images: Pixels | PackedPixels, batch_size: int = 64, *, loss_fn: LossFn = reconstruction_loss
) -> Metrics:
    """Compute `{"loss": f32[]}`, the mean of a deterministic loss over all images `u8[n, …]`, in one compiled call."""
    return {"loss": mean_loss(state, images, batch_size=batch_size, loss_fn=loss_fn)}
