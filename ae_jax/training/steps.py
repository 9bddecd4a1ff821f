"""Pure training and evaluation steps: a state and images in, a new state and metrics out."""

from typing import Any, Protocol, runtime_checkable

import jax
import optax
from jax import lax
from jax import numpy as jnp
from jax.flatten_util import ravel_pytree

from ae_jax.data.batching import EpochBatches, normalise
from ae_jax.system.decorators import cache, jit
from ae_jax.training.losses import LossFn, apply, is_stochastic, losses, reconstruction_loss
from ae_jax.training.state import TrainState
from ae_jax.types import (
    AnyBatch,
    Batch,
    FloatBatch,
    Metrics,
    Params,
    PerImage,
    PerImageKeys,
    RandomKey,
    Scalar,
    Step,
    StepLosses,
)

_NOISE = 2**31 - 1  # folded into the shuffle key for a stochastic loss; larger than any epoch number


@runtime_checkable
class TrainStep(Protocol):
    """A jitted train step, as `make_train_step` returns it."""

    def __call__(
        self, state: TrainState, images: FloatBatch, weights: PerImage | None = None, key: RandomKey | None = None
    ) -> tuple[TrainState, Metrics]: ...
    def lower(
        self, state: TrainState, images: FloatBatch, weights: PerImage | None = None, key: RandomKey | None = None
    ) -> jax.stages.Lowered: ...
    def trace(
        self, state: TrainState, images: FloatBatch, weights: PerImage | None = None, key: RandomKey | None = None
    ) -> jax.stages.Traced: ...


@cache
def make_train_step(loss_fn: LossFn) -> TrainStep:
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

    @jit()
    def train_step(
        state: TrainState, images: FloatBatch, weights: PerImage | None = None, key: RandomKey | None = None
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
        state, loss = _step(loss_fn, state, jnp.asarray(images), weights / jnp.sum(weights), key, axis_name=None)
        return state, {"loss": loss}

    return train_step


train_step = make_train_step(reconstruction_loss)


@jit(static_argnames="loss_fn")
def eval_step(
    state: TrainState, images: FloatBatch, *, loss_fn: LossFn = reconstruction_loss, key: RandomKey | None = None
) -> Metrics:
    """Compute `{"loss": f32[]}`, the mean over a batch `f32[batch, …]` in [0, 1]; `key` as for `make_train_step`."""
    keys = _image_keys(loss_fn, key, state.step, len(images))
    return {"loss": jnp.mean(losses(loss_fn, state.model, state.params, jnp.asarray(images), keys))}


def noise_key(key: RandomKey) -> RandomKey:
    """Derive the key of a stochastic loss from the shuffle key."""
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
    """Run the steps `first <= i < last` of an epoch as one compiled loop.

    The bounds may be traced: segments of any length share one compilation and give the same result.

    Args:
      state: the initial state.
      step_losses: `f32[steps]`, the losses of the epoch's steps so far.
      batches: the epoch's batches.
      first: the first step.
      last: the end of the range, at most `ceil(n / batch_size)`.
      key: for a stochastic loss, as for `make_train_step`.
      batch_size: images per step, at most `n`.
      loss_fn: as for `make_train_step`.
      axis_name: the mesh axis of the devices under `jax.shard_map`; each takes its shard of every batch.

    Returns:
      The new state, and `step_losses` with the losses of these steps; equal on all devices.
    """

    def body(i: Step, carry: tuple[TrainState, StepLosses]) -> tuple[TrainState, StepLosses]:
        state, step_losses = carry
        batch, weights = batches.batch(i, batch_size, **_shard_args(axis_name))
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
    """Accumulate the mean loss over all `num_images` images, for the batches `first <= i < last`, in one compiled loop.

    `mean` is the sum of the previous batches' contributions, initially 0, and `loss_fn` is deterministic; the other
    arguments as for `run_steps`.
    """

    def body(i: Step, total: Scalar) -> Scalar:
        batch, weights = batches.batch(i, batch_size, **_shard_args(axis_name))
        loss = jnp.sum(losses(loss_fn, state.model, state.params, batch) * weights)
        return total + loss * jnp.minimum(batch_size, num_images - i * batch_size) / num_images

    if not axis_name:
        return lax.fori_loop(first, last, body, mean)
    return mean + lax.psum(lax.fori_loop(first, last, body, jnp.float32(0)), axis_name)


@jit()
def reconstruct(state: TrainState, images: AnyBatch) -> Batch:
    """Reconstruct `u8[n, …]`, or `f32[n, …]` in [0, 1], as `f32[n, …]` in [0, 1].

    >>> state = ae_jax.create_train_state(ae_jax.ConvAutoencoder(), jax.random.key(0))
    >>> ae_jax.reconstruct(state, np.zeros((5, 28, 28, 1), np.uint8)).shape
    (5, 28, 28, 1)
    """
    return apply(state.model, state.params, normalise(images) if images.dtype == jnp.uint8 else jnp.asarray(images))


def _shard_args(axis_name: str | None) -> dict[str, Any]:
    return {"shard": lax.axis_index(axis_name), "num_shards": lax.axis_size(axis_name)} if axis_name else {}


def _image_keys(
    loss_fn: LossFn, key: RandomKey | None, step: Step, size: int, axis_name: str | None = None
) -> PerImageKeys | None:
    """One key per image of a batch, or of this device's shard of it; None without `key` or for a deterministic loss."""
    if key is None or not is_stochastic(loss_fn):
        return None
    first = lax.axis_index(axis_name) * size if axis_name else 0
    rows = first + jnp.arange(size, dtype=jnp.int32)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, step), rows)


def _step(
    loss_fn: LossFn, state: TrainState, images: Batch, weights: PerImage, key: RandomKey | None, axis_name: str | None
) -> tuple[TrainState, Scalar]:
    """Take one optimizer step on the sum of `weights · losses` over all devices of `axis_name`."""
    keys = _image_keys(loss_fn, key, state.step, len(images), axis_name)

    def objective(params: Params) -> Scalar:
        return jnp.sum(losses(loss_fn, state.model, params, images, keys) * weights)

    loss, grads = jax.value_and_grad(objective)(state.params)
    if axis_name:
        flat, unravel = ravel_pytree((loss, grads))  # one all-reduce: one per parameter costs more than a device gains
        loss, grads = unravel(lax.psum(flat, axis_name))
    updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state), loss
