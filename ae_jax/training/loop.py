"""The core of training: one optimizer step, and loops over the batches of an epoch. All functions are pure."""

from typing import Any

import jax
import optax
from jax import lax
from jax import numpy as jnp
from jax.flatten_util import ravel_pytree

from ae_jax.data.batching import take_batch, to_float
from ae_jax.training.losses import LossFn, apply, image_keys, losses, reconstruction_loss
from ae_jax.training.state import TrainState
from ae_jax.types import Images, Order, PackedPixels, Params, PerImage, Pixels, RandomKey, Scalar, Step, StepLosses

_NOISE = 2**31 - 1  # folded into an epoch's key for a stochastic loss


def step(
    state: TrainState,
    images: Images,
    weights: PerImage,
    key: RandomKey | None,
    loss_fn: LossFn,
    axis_name: str | None = None,
) -> tuple[TrainState, Scalar]:
    """Take one optimizer step on the sum of `weights · losses`, over all devices of `axis_name`; return it too."""
    keys = image_keys(loss_fn, key, state.step, len(images), axis_name)

    def objective(params: Params) -> Scalar:
        return jnp.sum(losses(loss_fn, state.model, params, images, keys) * weights)

    loss, grads = jax.value_and_grad(objective)(state.params)
    if axis_name:
        flat, unravel = ravel_pytree((loss, grads))  # one all-reduce: one per parameter costs more than a device gains
        loss, grads = unravel(lax.psum(flat, axis_name))
    updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state), loss


def run_steps(
    state: TrainState,
    step_losses: StepLosses,
    images: Pixels | PackedPixels,
    order: Order,
    first: int | Step,
    last: int | Step,
    key: RandomKey | None,
    *,
    batch_size: int,
    loss_fn: LossFn,
    axis_name: str | None = None,
) -> tuple[TrainState, StepLosses]:
    """Run the steps `first <= i < last` of an epoch as one compiled loop.

    The bounds may be traced: segments of any length share one compilation and give the same result.

    `images` are `u8[n, …]` or from `pack`, and visited in `order`, `i32[n]`; `last` is at most `ceil(n / batch_size)`,
    and `batch_size` at most `n`. Under `jax.shard_map`, each device of the mesh axis `axis_name` takes its shard of
    every batch. `key` and `loss_fn` are as for `make_train_step`. The results are the new state, and `step_losses`,
    `f32[steps]`, with the losses of these steps; equal on all devices.
    """

    def body(i: Step, carry: tuple[TrainState, StepLosses]) -> tuple[TrainState, StepLosses]:
        state, step_losses = carry
        batch, weights = take_batch(images, order, i, batch_size, *_shard(axis_name))
        state, loss = step(state, batch, weights, key, loss_fn, axis_name)
        return state, step_losses.at[i].set(loss)

    return lax.fori_loop(first, last, body, (state, step_losses))


def mean_loss(
    state: TrainState,
    images: Pixels | PackedPixels,
    *,
    batch_size: int,
    loss_fn: LossFn = reconstruction_loss,
    axis_name: str | None = None,
) -> Scalar:
    """The mean of a deterministic loss over all images; arguments as for `run_steps`."""
    n = len(images)
    order, size = jnp.arange(n, dtype=jnp.int32), min(batch_size, n)

    def body(i: Step, total: Scalar) -> Scalar:
        batch, weights = take_batch(images, order, i, size, *_shard(axis_name))
        loss = jnp.sum(losses(loss_fn, state.model, state.params, batch) * weights)
        return total + loss * jnp.minimum(size, n - i * size) / n

    total = lax.fori_loop(0, -(-n // size), body, jnp.float32(0))
    return lax.psum(total, axis_name) if axis_name else total


def noise_key(key: RandomKey) -> RandomKey:
    """Derive the key of a stochastic loss from that of the epoch."""
    return jax.random.fold_in(key, _NOISE)


def _shard(axis_name: str | None) -> tuple[Any, Any]:
    """The index of this device's shard of a batch, and the number of shards."""
    return (lax.axis_index(axis_name), lax.axis_size(axis_name)) if axis_name else (0, 1)


@jax.jit
def reconstruct(state: TrainState, images: Images | Pixels) -> Images:
    """Reconstruct `u8[n, …]`, or `f32[n, …]` in [0, 1], as `f32[n, …]` in [0, 1].

    >>> state = ae_jax.create_train_state(ae_jax.ConvAutoencoder(), jax.random.key(0))
    >>> ae_jax.reconstruct(state, np.zeros((5, 28, 28, 1), np.uint8)).shape
    (5, 28, 28, 1)
    """
    return apply(state.model, state.params, to_float(images) if images.dtype == jnp.uint8 else jnp.asarray(images))
