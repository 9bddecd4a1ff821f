"""Training and evaluation as pure, jitted functions: steps, epochs, and complete runs."""

import functools
import weakref
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax import lax
from jax import numpy as jnp

from ae_jax.data.batching import as_floats, batch_sizes, epoch_order, num_examples
from ae_jax.training.loop import mean_metrics, noise_key, run_steps, step, zero_metrics
from ae_jax.training.losses import LossFn, example_keys, example_metrics, reconstruction_loss
from ae_jax.training.state import TrainState
from ae_jax.types import Batch, EpochsMetrics, Metrics, PerExample, RandomKey, Step

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class _Programs(dict[Any, Any]):
    """Compiled programs of the losses of one owner, void where `functools.wraps` or `copy` has passed them on."""

    def __init__(self, owner: Any) -> None:
        self.owner = weakref.ref(owner)

    def __reduce__(self) -> Any:  # pickled, and copied, as an empty one that belongs to nothing
        return dict, ()


def _kept(loss_fn: LossFn, key: Any, make: Callable[[], Any]) -> Any:
    """The result of `make()`, kept by the loss itself under `key`: a closure and all it holds are freed with it."""
    owner = getattr(loss_fn, "__self__", loss_fn)  # a bound method is a new object each time
    attributes, key = getattr(owner, "__dict__", None), (key, getattr(loss_fn, "__func__", None))
    if not isinstance(attributes, dict):
        return make()
    programs = attributes.get("_ae_jax_programs")
    if not isinstance(programs, _Programs) or programs.owner() is not owner:
        programs = attributes["_ae_jax_programs"] = _Programs(owner)
    if key not in programs:
        programs[key] = make()
    return programs[key]


def _jit_per_loss(*static: str) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """`jax.jit` for functions with a keyword argument `loss_fn`, by which they are compiled, and `static` ones."""

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def call(*args: Any, loss_fn: LossFn = reconstruction_loss, **kwargs: Any) -> Any:
            @functools.wraps(function)  # for the names of its arguments
            def of_loss(*args: Any, **kwargs: Any) -> Any:
                return function(*args, loss_fn=loss_fn, **kwargs)

            return _kept(loss_fn, function, lambda: jax.jit(of_loss, static_argnames=static))(*args, **kwargs)

        return call

    return decorate


def make_train_step(loss_fn: LossFn) -> jax.stages.Wrapped:
    """Make a jitted, pure train step for a custom loss; the same loss gives the same step.

    Args:
      loss_fn: `(model, params, batch) → f32[batch]`, one value per example; the step minimises their mean. It may
        return `(f32[batch], {name: f32[batch]})`, with terms to report. A loss may also have a parameter named `keys`,
        for `key[batch]`, a different random key per example and step, and one named `step`, for `i32[]`, the optimizer
        steps so far. A loss that depends on statistics of the batch counts the examples of padding, too, that
        `train_epoch` gives the last, shorter batch; `num_steps` leaves that batch out.

    Returns:
      `(state, batch, weights=None, key=None) → state, metrics`. `batch` is any pytree of arrays with one leading axis,
      whose `u8` leaves become `f32` in [0, 1]. `metrics` are `f32[]`: the mean "loss", and that of each term.
      `weights: f32[batch]`, not all 0, make it a weighted mean; with 0 for padding, by examples that are real, a
      smaller batch needs no recompilation. `keys` derive from `key` and the state's step, so that one `key` serves all
      steps. The step raises `ValueError` if the leaves of `batch` differ in length, or `loss_fn` returns something
      else, takes another argument, or is stochastic and there is no `key`.
    """

    def train_step(
        state: TrainState, batch: Batch, weights: PerExample | None = None, key: RandomKey | None = None
    ) -> tuple[TrainState, Metrics]:
        """Take one optimizer step: `state, images f32[batch, …] in [0, 1] → state, {"loss": f32[]}`, jitted and pure.

        Other arguments as for `make_train_step`; `ae_jax.train_step` minimises `reconstruction_loss`.

        >>> state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
        >>> state, metrics = ae_jax.train_step(state, jnp.zeros((64, 28, 28, 1)))
        >>> int(state.step), metrics["loss"].shape
        (1, ())
        """
        n = num_examples(batch)
        weights = jnp.ones(n, jnp.float32) if weights is None else jnp.asarray(weights)
        if weights.shape != (n,) or jnp.issubdtype(weights.dtype, jax.dtypes.prng_key):
            found = f"{weights.dtype}{list(weights.shape)}"
            raise ValueError(f"weights must be f32[{n}], one per example, not {found}; a random key is `key`")
        weights = weights.astype(jnp.float32)
        return step(state, as_floats(batch), weights / jnp.sum(weights), key, loss_fn)

    return _kept(loss_fn, make_train_step, lambda: jax.jit(train_step))


train_step = make_train_step(reconstruction_loss)


@_jit_per_loss()
def eval_step(
    state: TrainState, batch: Batch, *, loss_fn: LossFn = reconstruction_loss, key: RandomKey | None = None
) -> Metrics:
    """Compute the metrics of a batch, `{"loss": f32[], …}`; arguments and errors as for `make_train_step`. Jitted."""
    keys = example_keys(loss_fn, key, state.step, num_examples(batch))
    metrics = example_metrics(loss_fn, state.model, state.params, as_floats(batch), state.step, keys)
    return {name: jnp.mean(values).astype(jnp.float32) for name, values in metrics.items()}


@_jit_per_loss("batch_size", "num_steps")
def train_epoch(
    state: TrainState,
    data: Batch,
    key: RandomKey,
    batch_size: int = 64,
    *,
    num_steps: int | None = None,
    loss_fn: LossFn = reconstruction_loss,
) -> tuple[TrainState, Metrics]:
    """Train one epoch in one compiled call: the train step on `batches(data, key, batch_size)`, up to rounding.

    Args:
      state: the initial state; not donated.
      data: a pytree of arrays with one leading axis, such as `u8[n, …]`, as for `batches`.
      key: for the shuffle, and, folded once more, for a stochastic loss.
      batch_size: examples per step; the last of the `ceil(n / batch_size)` steps takes the remaining ones.
      num_steps: at most so many steps; None: as many as visit every example. `n // batch_size` leaves out the last,
        shorter batch, for a loss that depends on statistics of the batch.
      loss_fn: as for `make_train_step`.

    Returns:
      The new state, and `{"loss": f32[], …}`: the loss and each reported term, as means over the examples, each at the
      step that trained on it.

    >>> state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    >>> state, metrics = ae_jax.train_epoch(state, np.zeros((150, 28, 28, 1), np.uint8), jax.random.key(1))
    >>> int(state.step)
    3
    """
    n = num_examples(data)
    if num_steps is not None and num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, not {num_steps}")
    sizes = batch_sizes(n, batch_size)[:num_steps]
    settings: dict[str, Any] = {"batch_size": int(sizes[0]), "loss_fn": loss_fn}
    order, noise = epoch_order(key, n), noise_key(key)
    zeros = zero_metrics(state, data, noise, num_steps=len(sizes), **settings)
    state, step_metrics = run_steps(state, zeros, data, order, 0, len(sizes), noise, **settings)
    return state, {name: jnp.average(values, weights=sizes) for name, values in step_metrics.items()}


@_jit_per_loss("num_epochs", "batch_size", "num_steps")
def fit(
    state: TrainState,
    data: Batch,
    key: RandomKey,
    num_epochs: int = 10,
    batch_size: int = 64,
    *,
    num_steps: int | None = None,
    loss_fn: LossFn = reconstruction_loss,
) -> tuple[TrainState, EpochsMetrics]:
    """Train for several epochs in one compiled call; `jax.vmap` over states and keys trains many models at once.

    Epoch 1, 2, … is `train_epoch` with the key `jax.random.fold_in(key, epoch)`; the other arguments are as for it.
    `key, epochs_key = jax.random.split(jax.random.key(seed))`, the first for `create_train_state`, reproduces a
    command-line run with that seed.

    Returns:
      The final state, and `{"loss": f32[num_epochs], …}`, the metrics of each epoch.

    >>> keys = jax.random.split(jax.random.key(0), 3)
    >>> states = jax.vmap(lambda key: ae_jax.create_train_state(ae_jax.LinearAutoencoder(), key))(keys)
    >>> fit = functools.partial(ae_jax.fit, num_epochs=2)
    >>> states, metrics = jax.vmap(fit, in_axes=(0, None, 0))(states, np.zeros((64, 28, 28, 1), np.uint8), keys)
    >>> metrics["loss"].shape
    (3, 2)
    """

    def epoch(state: TrainState, number: Step) -> tuple[TrainState, Metrics]:
        epoch_key = jax.random.fold_in(key, number)
        return train_epoch(state, data, epoch_key, batch_size, num_steps=num_steps, loss_fn=loss_fn)

    return lax.scan(epoch, state, jnp.arange(1, num_epochs + 1, dtype=jnp.int32))


@_jit_per_loss("batch_size")
def evaluate(
    state: TrainState,
    data: Batch,
    batch_size: int = 64,
    *,
    loss_fn: LossFn = reconstruction_loss,
    key: RandomKey | None = None,
) -> Metrics:
    """Compute `{"loss": f32[], …}`, the means over all examples of `data` (as for `batches`), in one compiled call.

    `loss_fn` is as for `make_train_step`; a stochastic one needs a `key`, and has a random key per example. One that
    depends on statistics of the batch counts the padding of the last batch, unless `batch_size` divides the number.
    """
    return mean_metrics(state, data, key, batch_size=batch_size, loss_fn=loss_fn)
