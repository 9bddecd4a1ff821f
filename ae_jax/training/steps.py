"""Training as pure functions: a state and images in, a new state and metrics out."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import optax
from jax import lax
from jax import numpy as jnp
from jax.flatten_util import ravel_pytree

from ae_jax.data.batching import EpochBatches, normalise
from ae_jax.training.losses import LossFn, apply, losses, reconstruction_loss, wants_keys
from ae_jax.training.state import TrainState
from ae_jax.types import (
    Batch,
    HostBatch,
    Metrics,
    Params,
    PerImage,
    PerImageKeys,
    Pixels,
    RandomKey,
    Scalar,
    Step,
    StepLosses,
)

TrainStep: TypeAlias = Callable[..., tuple[TrainState, Metrics]]
_NOISE = 2**31 - 1  # folded into an epoch's key, for what is random besides its order


@functools.cache
def make_train_step(loss_fn: LossFn) -> TrainStep:
    """A jitted, pure train step for a loss of your own.

    Args:
      loss_fn: `(model, params, images f32[batch, …]) → f32[batch]`, one value an image; the step takes their mean. One
        with randomness in it has a fourth parameter named `keys`: `key[batch]`, for each image and step another.

    Returns:
      `(state, images, weights=None, key=None) → state, {"loss": f32[]}`. With `weights: f32[batch]` the mean is the
      weighted one: 0 for rows that only fill a batch up, so that a short one needs no compilation of its own. `key` is
      where `keys` come from, together with the state's step: the same will do for all steps. It raises `ValueError`
      where `loss_fn` gives anything but one value an image, or wants `keys` and there is no `key`.
    """

    @jax.jit
    def train_step(
        state: TrainState, images: Batch, weights: PerImage | None = None, key: RandomKey | None = None
    ) -> tuple[TrainState, Metrics]:
        """One optimizer step: `state, images f32[batch, …] in [0, 1] → state, {"loss": f32[]}`, jitted and pure.

        Every other argument as `make_train_step` says; `ae_jax.train_step` is that of `reconstruction_loss`.

        >>> state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
        >>> state, metrics = ae_jax.train_step(state, jnp.zeros((64, 28, 28, 1)))
        >>> int(state.step), metrics["loss"].shape
        (1, ())
        """
        if weights is None:
            weights = jnp.ones(len(images))
        state, loss = _step(loss_fn, state, images, weights / jnp.sum(weights), key)
        return state, {"loss": loss}

    return train_step


train_step = make_train_step(reconstruction_loss)


@functools.partial(jax.jit, static_argnames="loss_fn")
def eval_step(
    state: TrainState, images: Batch, *, loss_fn: LossFn = reconstruction_loss, key: RandomKey | None = None
) -> Metrics:
    """`{"loss": f32[]}`, the mean over a batch `f32[batch, …]` in [0, 1]; `key` as for `make_train_step`."""
    keys = _per_image(loss_fn, key, state.step, len(images))
    return {"loss": jnp.mean(losses(loss_fn, state.model, state.params, images, keys))}


def noise_key(key: RandomKey) -> RandomKey:
    """The key of what is random in losses, where `key` is that of the order."""
    return jax.random.fold_in(key, _NOISE)


def run_steps(
    state: TrainState,
    step_losses: StepLosses,
    batches: EpochBatches,
    first: int | Step,
    last: int | Step,
    key: RandomKey | None = None,
    *,
    batch_size: int,
    loss_fn: LossFn = reconstruction_loss,
    axis_name: str | None = None,
) -> tuple[TrainState, StepLosses]:
    """The steps `first <= i < last` of an epoch, as one loop to compile.

    The bounds may be traced: an epoch can be taken in pieces of any length, with one compilation and the same result.

    Args:
      state: where to start.
      step_losses: `f32[steps]`, the epoch's loss at each step so far.
      batches: the epoch's batches.
      first: the first step to take.
      last: the step to stop before, at most the epoch's `ceil(n / batch_size)`.
      key: for losses with randomness in them, as for `make_train_step`.
      batch_size: images a step, at most `n`.
      loss_fn: as for `make_train_step`.
      axis_name: the devices' mesh axis under `jax.shard_map`; each takes its shard of every batch.

    Returns:
      The new state, and `step_losses` with these steps' filled in; the same on all devices.
    """

    def body(i: Step, carry: tuple[TrainState, StepLosses]) -> tuple[TrainState, StepLosses]:
        state, step_losses = carry
        batch, weights = batches.batch(i, batch_size, **_shard(axis_name))
        state, loss = _step(loss_fn, state, batch, weights, key, axis_name)
        return state, step_losses.at[i].set(loss)

    return lax.fori_loop(first, last, body, (state, step_losses))


def mean_loss(
    state: TrainState,
    mean: Scalar,
    batches: EpochBatches,
    first: int | Step,
    last: int | Step,
    *,
    num_images: int,
    batch_size: int,
    loss_fn: LossFn = reconstruction_loss,
    axis_name: str | None = None,
) -> Scalar:
    """What the batches `first <= i < last` add to the mean over all images, as one loop to compile.

    Args:
      state: whose parameters.
      mean: what the batches before have added up to, or 0.
      batches: the epoch's batches.
      first: the first batch.
      last: the batch to stop before.
      num_images: in all batches.
      batch_size: images a batch, but for the last.
      loss_fn: one without randomness.
      axis_name: as for `run_steps`.
    """

    def body(i: Step, total: Scalar) -> Scalar:
        batch, weights = batches.batch(i, batch_size, **_shard(axis_name))
        loss = jnp.sum(losses(loss_fn, state.model, state.params, batch) * weights)
        return total + loss * jnp.minimum(batch_size, num_images - i * batch_size) / num_images

    if not axis_name:
        return lax.fori_loop(first, last, body, mean)
    return mean + lax.psum(lax.fori_loop(first, last, body, jnp.float32(0)), axis_name)


@jax.jit
def reconstruct(state: TrainState, images: Pixels | Batch | HostBatch) -> Batch:
    """What the model makes of `u8[n, …]`, or of `f32[n, …]` in [0, 1]: `f32[n, …]` in [0, 1].

    >>> state = ae_jax.create_train_state(ae_jax.ConvAutoencoder(), jax.random.key(0))
    >>> ae_jax.reconstruct(state, np.zeros((5, 28, 28, 1), np.uint8)).shape
    (5, 28, 28, 1)
    """
    return apply(state.model, state.params, normalise(images) if images.dtype == jnp.uint8 else jnp.asarray(images))


def _shard(axis_name: str | None) -> dict[str, Any]:
    return {"shard": lax.axis_index(axis_name), "num_shards": lax.axis_size(axis_name)} if axis_name else {}


def _per_image(
    loss_fn: LossFn, key: RandomKey | None, step: Step, size: int, axis_name: str | None = None
) -> PerImageKeys | None:
    """A key for each image of a batch, or of this device's shard of it, where `loss_fn` wants them and there is one."""
    if key is None or not wants_keys(loss_fn):
        return None
    first = lax.axis_index(axis_name) * size if axis_name else 0
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, step), first + jnp.arange(size))


def _step(
    loss_fn: LossFn,
    state: TrainState,
    images: Batch,
    weights: PerImage,
    key: RandomKey | None = None,
    axis_name: str | None = None,
) -> tuple[TrainState, Scalar]:
    """One optimizer step on the sum of `weights · losses`, over all devices of `axis_name`."""
    keys = _per_image(loss_fn, key, state.step, len(images), axis_name)

    def objective(params: Params) -> Scalar:
        return jnp.sum(losses(loss_fn, state.model, params, images, keys) * weights)

    loss, grads = jax.value_and_grad(objective)(state.params)
    if axis_name:
        flat, unravel = ravel_pytree((loss, grads))  # one all-reduce: one a parameter costs more than a device gains
        loss, grads = unravel(lax.psum(flat, axis_name))
    updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state), loss
