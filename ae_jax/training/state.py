"""Train state: step, parameters and optimizer state as one frozen pytree, and its initialisation."""

import functools
from typing import Any, get_args

import jax
import optax
from flax import linen as nn
from flax import struct
from jax import numpy as jnp

from ae_jax.choices import WeightDecayMode
from ae_jax.types import Params, RandomKey, Scalar, Step


class TrainState(struct.PyTreeNode):
    """Frozen pytree of everything that training updates; model and optimizer are static fields.

    States with equal `model` and `tx` share compiled functions. Models compare by their fields; `create_train_state`
    returns the same `tx` for equal `weight_decay_mode`, `betas` and `schedule`.
    """

    step: Step  # i32[], optimizer steps taken
    params: Params
    opt_state: optax.OptState
    model: nn.Module = struct.field(pytree_node=False)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)


def create_train_state(
    model: nn.Module,
    key: RandomKey,
    *,
    learning_rate: float | Scalar = 1e-3,
    schedule: optax.Schedule | None = None,
    weight_decay: float | Scalar = 1e-5,
    weight_decay_mode: WeightDecayMode = "decoupled",
    betas: tuple[float, float] = (0.9, 0.999),
    params: Params | None = None,
    tx: optax.GradientTransformation | None = None,
) -> TrainState:
    """Create the initial train state.

    Args:
      model: a flax module that maps images to reconstructions; initialised on `f32[1, 28, 28, 1]`.
      key: for the initial parameters; unused if `params` are given.
      learning_rate: Adam's learning rate. It and `weight_decay` are leaves of the state: they may be traced, and new
        values do not recompile.
      schedule: maps the step to the fraction of `learning_rate` to use; each schedule object compiles separately.
      weight_decay: the weight decay coefficient.
      weight_decay_mode: "decoupled" subtracts `learning_rate · weight_decay · params` (Loshchilov & Hutter 2019,
        arXiv:1711.05101; `torch.optim.AdamW`); "l2" adds `weight_decay · params` to the gradient
        (`torch.optim.Adam(weight_decay=…)`).
      betas: Adam's decay rates of the first and second moments.
      params: initial parameters in place of random ones.
      tx: a custom optimizer instead of Adam; the optimizer settings above are then ignored.

    Raises:
      ValueError: `weight_decay_mode` is unknown.

    >>> state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), learning_rate=3e-3)
    >>> state.params["encoder_0"]["kernel"].shape
    (784, 128)
    """
    params = _init_params(model, key) if params is None else params
    if tx is not None:
        return TrainState(jnp.int32(0), params, tx.init(params), model, tx)
    hyperparams = {"learning_rate": jnp.float32(learning_rate), "weight_decay": jnp.float32(weight_decay)}
    tx = _adam(weight_decay_mode, betas, schedule)
    opt_state = _init_opt_state(tx, params)
    opt_state = opt_state._replace(hyperparams=opt_state.hyperparams | hyperparams)
    return TrainState(jnp.int32(0), params, opt_state, model, tx)


@functools.cache
def _adam(
    weight_decay_mode: WeightDecayMode, betas: tuple[float, float], schedule: optax.Schedule | None
) -> optax.GradientTransformation:
    """Adam with PyTorch's eps, 1e-8, and with learning rate and weight decay as leaves of the optimizer state."""
    if weight_decay_mode not in get_args(WeightDecayMode):
        raise ValueError(f"unknown weight_decay_mode {weight_decay_mode!r}; choose {get_args(WeightDecayMode)}")

    def adam(learning_rate: Scalar, weight_decay: Scalar) -> optax.GradientTransformation:
        if weight_decay_mode == "l2":
            tx = optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate, *betas))
        else:
            tx = optax.adamw(learning_rate, *betas, weight_decay=weight_decay)
        return optax.chain(tx, optax.scale_by_schedule(schedule)) if schedule else tx

    return optax.inject_hyperparams(adam)(learning_rate=0.0, weight_decay=0.0)


@functools.partial(jax.jit, static_argnums=0)
def _init_params(model: nn.Module, key: RandomKey) -> Params:
    return model.init(key, jnp.zeros((1, 28, 28, 1)))["params"]


@functools.partial(jax.jit, static_argnums=0)
def _init_opt_state(tx: optax.GradientTransformation, params: Params) -> Any:
    return tx.init(params)
