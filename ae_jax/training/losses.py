"""Losses per example, and noise for denoising."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

import jax
from jax import lax
from jax import numpy as jnp

from ae_jax.config import Loss
from ae_jax.data.batching import check_key, num_examples, to_float
from ae_jax.types import Batch, Images, Params, PerExample, PerExampleKeys, Pixels, RandomKey, Step

LossFn: TypeAlias = Callable[..., PerExample | tuple[PerExample, Mapping[str, PerExample]]]  # see `make_train_step`


def reconstruction_loss(model: Any, params: Params, images: Images) -> PerExample:
    """Mean squared error of each image's reconstruction over its pixels: `f32[batch, …]` → `f32[batch]`.

    `ValueError` if the model does not return an array of the images' shape.
    """
    return _squared_error(model, params, images, images)


def cross_entropy_loss(model: Any, params: Params, images: Images) -> PerExample:
    """Binary cross-entropy of each image's reconstruction, mean over its pixels: `f32[batch, …]` → `f32[batch]`, nats.

    ```
    -x·log σ(z) - (1 - x)·log(1 - σ(z))        per pixel x in [0, 1], with the logit z of its reconstruction
    ```

    The logits are those of the model's method `logits`, so that neither the loss of a saturated pixel overflows nor its
    gradient vanishes. The least possible value is the mean entropy of the pixels, which is 0 for black and white.

    `ValueError` if the model has no such method, or it does not return an array of the images' shape.
    """
    return _cross_entropy(model, params, images, images)


def all_losses(model: Any, params: Params, images: Images) -> tuple[PerExample, dict[str, PerExample]]:
    """`reconstruction_loss`, with `cross_entropy_loss` to report."""
    return reconstruction_loss(model, params, images), {"cross_entropy": cross_entropy_loss(model, params, images)}


@functools.cache
def denoising_loss(noise: float, loss: Loss = "mse") -> LossFn:
    """Make the loss of a denoising autoencoder: reconstruct `images` from noisy ones (Vincent et al. 2008, ICML).

    `noise` is the standard deviation of the Gaussian noise, for pixels in [0, 1]; `loss` is "mse" or "cross-entropy".

    Returns:
      `(model, params, images f32[batch, …], keys key[batch]) → f32[batch]`, cached, so that it compiles once.
    """
    if loss not in get_args(Loss):
        raise ValueError(f"unknown loss {loss!r}; choose {get_args(Loss)}")
    error = _squared_error if loss == "mse" else _cross_entropy

    def denoising(model: Any, params: Params, images: Images, keys: PerExampleKeys) -> PerExample:
        return error(model, params, add_noise(images, keys, noise), images)

    return denoising


def add_noise(images: Images, keys: PerExampleKeys, noise: float) -> Images:
    """Add Gaussian noise of standard deviation `noise` to `f32[batch, …]` in [0, 1], and clip the sum to [0, 1]."""
    normal = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
    return jnp.clip(images + noise * normal, 0, 1)


def with_fixed_noise(images: Pixels, noise: float) -> Images:
    """Add reproducible noise (fixed key) to `u8[n, …]`, for figures and evaluation: `f32[n, …]` in [0, 1]."""
    return add_noise(to_float(images), jax.random.split(jax.random.key(0), len(images)), noise)


def apply(model: Any, params: Params, images: Images, method: str | None = None) -> Images:
    """Reconstruct a batch, or apply another method that keeps its shape."""
    if not hasattr(images, "ndim"):
        advice = "pass its images" if hasattr(images, "images") else "write a loss that takes it"
        raise ValueError(f"the batch must be images alone, not a {type(images).__name__}; {advice}")
    recons = model.apply({"params": params}, images, method=method)
    if not hasattr(recons, "shape"):
        raise ValueError(f"the model returns a {type(recons).__name__}, not images; write a loss that takes it")
    if recons.shape != images.shape:
        raise ValueError(f"the model must return arrays of the shape of its images, {images.shape}, not {recons.shape}")
    return recons


def example_metrics(
    loss_fn: LossFn, model: Any, params: Params, batch: Batch, step: Step, keys: PerExampleKeys | None
) -> dict[str, PerExample]:
    """The loss of each example and what else `loss_fn` reports of it, by name; errors as for `make_train_step`."""
    offered, extra = {"keys": keys, "step": step}, _extra_parameters(loss_fn)
    if keys is None and extra.get("keys") is inspect.Parameter.empty:
        raise ValueError("loss_fn is stochastic (it has a parameter named keys); pass a key")
    result = loss_fn(model, params, batch, **{name: offered[name] for name in extra if offered[name] is not None})
    values, terms = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    if not isinstance(terms, Mapping) or not hasattr(values, "dtype"):
        raise ValueError(f"loss_fn must return f32[batch] or (f32[batch], {{name: f32[batch]}}), not {result!r}")
    if "loss" in terms:
        raise ValueError("loss_fn reports a term named loss, which is the name of the loss itself; rename it")
    if not jnp.issubdtype(jnp.asarray(values).dtype, jnp.floating):
        raise ValueError(f"loss_fn must return floats, not {jnp.asarray(values).dtype}, which has no gradient")
    n, metrics = num_examples(batch), {"loss": values, **terms}
    for name, each in metrics.items():
        if jnp.shape(each) != (n,):
            raise ValueError(f"{name} must have one value per example, f32[{n}], not f32{list(jnp.shape(each))}")
    return metrics


def example_keys(
    loss_fn: LossFn, key: RandomKey | None, step: Step, size: int, axis_name: str | None = None
) -> PerExampleKeys | None:
    """One key per example of a batch, or of this device's shard; None without `key` or for a deterministic loss."""
    if key is None or "keys" not in _extra_parameters(loss_fn):
        return None
    check_key(key)
    rows = (lax.axis_index(axis_name) if axis_name else 0) * size + jnp.arange(size, dtype=jnp.int32)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, step), rows)


def _extra_parameters(loss_fn: LossFn) -> dict[str, Any]:
    """The parameters `keys` and `step` of a loss, if it has them, with their defaults; what a partial binds stays."""
    parameters = inspect.signature(loss_fn).parameters
    bound = loss_fn.keywords if isinstance(loss_fn, functools.partial) else {}
    named = (each for each in list(parameters.values())[3:] if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))
    for each in named:
        if each.default is each.empty and each.name not in ("keys", "step"):
            raise ValueError(
                f"loss_fn has a parameter named {each.name}; beside (model, params, batch) there are only keys, a "
                "random key per example, and step, the optimizer steps so far"
            )
    return {name: parameters[name].default for name in ("keys", "step") if name in parameters.keys() - bound.keys()}


def _squared_error(model: Any, params: Params, inputs: Images, images: Images) -> PerExample:
    """The mean over the pixels; with the batch as the minor axis, XLA vectorises the sums on CPUs."""
    recons = apply(model, params, inputs)
    errors = jnp.moveaxis(recons - images.astype(recons.dtype), 0, -1)
    return jnp.mean(jnp.square(errors), axis=range(images.ndim - 1))


def _cross_entropy(model: Any, params: Params, inputs: Images, images: Images) -> PerExample:
    """The mean over the pixels of `log(1 + exp(-|z|)) + |z|·(1 - x if z > 0 else x)`, whose terms do not cancel."""
    if not hasattr(model, "logits"):
        raise ValueError(f"cross_entropy_loss needs logits; give {type(model).__name__} a method `logits(images)`")
    logits = apply(model, params, inputs, "logits")
    is_positive = logits > 0
    exponent = jnp.where(is_positive, -logits, logits)
    errors = jnp.log1p(jnp.exp(exponent)) - exponent * jnp.where(is_positive, 1 - images, images)
    return jnp.mean(errors, axis=range(1, images.ndim))
