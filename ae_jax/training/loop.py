"""The core of training: one optimizer step, and loops over the batches of an epoch. All functions are pure."""

import inspect
from typing import Any

import jax
import optax
from jax import lax
from jax import numpy as jnp
from jax.flatten_util import ravel_pytree

from ae_jax.data.batching import as_floats, batch_sizes, num_examples, take_batch
from ae_jax.training.losses import LossFn, apply, example_keys, example_metrics
from ae_jax.training.state import TrainState
from ae_jax.types import Batch, Images, Metrics, Order, Params, PerExample, Pixels, RandomKey, Scalar, Step, StepMetrics

_NOISE = 2**31 - 1  # folded into an epoch's key for a stochastic loss


def step(
    state: TrainState,
    batch: Batch,
    weights: PerExample,
    key: RandomKey | None,
    loss_fn: LossFn,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Take one optimizer step on the sum of `weights · losses`, over all devices of `axis_name`.

    The metrics are that sum, as "loss", and the sums of `weights · terms` of what `loss_fn` reports beside it.
    """
    keys = example_keys(loss_fn, key, state.step, weights.shape[0], axis_name)

    def objective(params: Params) -> tuple[Scalar, Metrics]:
        metrics = example_metrics(loss_fn, state.model, params, batch, state.step, keys)
        sums = {name: jnp.sum(values * weights) for name, values in metrics.items()}
        return sums["loss"], {name: each.astype(jnp.float32) for name, each in sums.items()}

    def value(params: Params) -> Scalar:
        return lax.psum(objective(params)[0], axis_name) if axis_name else objective(params)[0]

    (_, metrics), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    if axis_name:
        flat, unravel = ravel_pytree((metrics, grads))  # one all-reduce: one per array costs more than a device gains
        metrics, grads = unravel(lax.psum(flat, axis_name))
    update = optax.with_extra_args_support(state.tx).update
    offered = {"value": metrics["loss"], "grad": grads, "value_fn": value}  # to line searches, plateaus and their like
    names = inspect.signature(update).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in names.values()):
        offered = {name: each for name, each in offered.items() if name in names}
    updates, opt_state = update(grads, state.opt_state, state.params, **offered)
    params = optax.apply_updates(state.params, updates)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics


def run_steps(
    state: TrainState,
    step_metrics: StepMetrics,
    data: Batch,
    order: Order,
    first: int | Step,
    last: int | Step,
    key: RandomKey | None,
    *,
    batch_size: int,
    loss_fn: LossFn,
    axis_name: str | None = None,
) -> tuple[TrainState, StepMetrics]:
    """Run the steps `first <= i < last` of an epoch as one compiled loop.

    The bounds may be traced: segments of any length share one compilation and give the same result. The `n` examples of
    `data` are visited in `order`, `i32[n]`; `last` is at most `ceil(n / batch_size)`, and `batch_size` at most `n`.
    Under `jax.shard_map`, each device of the mesh axis `axis_name` takes its shard of every batch. `key` and `loss_fn`
    are as for `make_train_step`. The results are the new state, and `step_metrics` (see `zero_metrics`) with the
    metrics of these steps; equal on all devices.
    """

    def body(i: Step, carry: tuple[TrainState, StepMetrics]) -> tuple[TrainState, StepMetrics]:
        state, step_metrics = carry
        batch, weights = take_batch(data, order, i, batch_size, *_shard(axis_name))
        state, metrics = step(state, batch, weights, key, loss_fn, axis_name)
        return state, {name: values.at[i].set(metrics[name]) for name, values in step_metrics.items()}

    return lax.fori_loop(first, last, body, (state, step_metrics))


def zero_metrics(
    state: TrainState, data: Batch, key: RandomKey | None, *, batch_size: int, num_steps: int, loss_fn: LossFn
) -> StepMetrics:
    """Zeros for the metrics of each step: one array `f32[num_steps]` for the loss and each term that is reported."""

    def metrics() -> Any:
        batch, weights = take_batch(data, jnp.zeros(batch_size, jnp.int32), 0, batch_size)
        keys = example_keys(loss_fn, key, state.step, len(weights))
        return example_metrics(loss_fn, state.model, state.params, batch, state.step, keys)

    return {name: jnp.zeros(num_steps, jnp.float32) for name in jax.eval_shape(metrics)}


def mean_metrics(
    state: TrainState,
    data: Batch,
    key: RandomKey | None,
    *,
    batch_size: int,
    loss_fn: LossFn,
    axis_name: str | None = None,
) -> Metrics:
    """The mean loss over all examples, and the means of what `loss_fn` reports; arguments as for `run_steps`."""
    n = num_examples(data)
    order, sizes = jnp.arange(n, dtype=jnp.int32), batch_sizes(n, batch_size)

    def body(_: None, i: Step) -> tuple[None, Metrics]:
        batch, weights = take_batch(data, order, i, int(sizes[0]), *_shard(axis_name))
        keys = example_keys(loss_fn, key, i, len(weights), axis_name)
        metrics = example_metrics(loss_fn, state.model, state.params, batch, state.step, keys)
        return None, {name: jnp.sum(values * weights).astype(jnp.float32) for name, values in metrics.items()}

    _, batch_means = lax.scan(body, None, jnp.arange(len(sizes), dtype=jnp.int32))
    means = {name: jnp.average(values, weights=sizes) for name, values in batch_means.items()}
    return lax.psum(means, axis_name) if axis_name else means


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
    return apply(state.model, state.params, as_floats(images))
