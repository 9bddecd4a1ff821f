"""Train state: step, parameters and optimizer state as one frozen pytree, and its initialisation."""

import functools
import math
from collections.abc import Sequence
from typing import get_args

import jax
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jax import numpy as jnp

from ae_jax.config import Optimizer, WeightDecayMode
from ae_jax.training.optimizers import scale_by_adam, scale_by_muon
from ae_jax.types import Params, RandomKey, Scalar, Step


class TrainState(struct.PyTreeNode):
    """Frozen pytree of everything that training updates; model and optimizer are static fields.

    States with equal `model` and `tx` share compiled functions. Models compare by their fields; `create_train_state`
    returns the same `tx` for equal `optimizer`, `weight_decay_mode` and `schedule`.
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
    optimizer: Optimizer = "adam",
    learning_rate: float | Scalar = 1e-3,
    schedule: optax.Schedule | None = None,
    weight_decay: float | Scalar = 1e-5,
    weight_decay_mode: WeightDecayMode = "decoupled",
    betas: tuple[float | Scalar, float | Scalar] = (0.9, 0.999),
    params: Params | None = None,
    tx: optax.GradientTransformation | None = None,
) -> TrainState:
    """Create the initial train state.

    Args:
      model: a flax module that maps images to reconstructions; initialised on `f32[1, 28, 28, 1]`.
      key: for the initial parameters; unused if `params` are given.
      optimizer: "adam", or "muon": orthogonal updates for kernels that have a side of at most 64, as matrices with one
        column per feature, and Adam's for all other parameters (Jordan et al. 2024, Liu et al. 2025).
      learning_rate: the learning rate. It, `weight_decay` and `betas` are leaves of the state: they may be traced,
        and new values do not recompile.
      schedule: maps the step to the fraction of `learning_rate` to use; each schedule object compiles separately.
      weight_decay: the weight decay coefficient.
      weight_decay_mode: "decoupled" subtracts `learning_rate · weight_decay · params` (Loshchilov & Hutter 2019,
        arXiv:1711.05101; `torch.optim.AdamW`); "l2" adds `weight_decay · params` to the gradient
        (`torch.optim.Adam(weight_decay=…)`).
      betas: Adam's decay rates of the first and second moments; the first is also Muon's momentum.
      params: initial parameters in place of random ones.
      tx: a custom optimizer instead; the optimizer settings above are then ignored.

    Raises:
      ValueError: `optimizer` or `weight_decay_mode` is unknown, there are not two `betas`, or a setting is not a finite
        number of at least 0 (of `betas`, also below 1).

    >>> state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), learning_rate=3e-3)
    >>> state.params["encoder_0"]["kernel"].shape
    (784, 128)
    """
    if params is None:
        params = (_traced_init if isinstance(key, jax.core.Tracer) else _init)(model, key)
    if tx is not None:
        return TrainState(jnp.int32(0), params, tx.init(params), model, tx)
    if not isinstance(betas, Sequence) or len(betas) != 2:
        raise ValueError(f"betas must be two numbers, not {betas!r}")
    hyperparams = {
        "learning_rate": _checked("learning_rate", learning_rate),
        "weight_decay": _checked("weight_decay", weight_decay),
        "beta1": _checked("betas[0]", betas[0], below=1),
        "beta2": _checked("betas[1]", betas[1], below=1),
    }
    tx = _optimizer(optimizer, weight_decay_mode, schedule)
    opt_state = _init_opt_state(tx, params)
    opt_state = opt_state._replace(hyperparams=opt_state.hyperparams | hyperparams)
    return TrainState(jnp.int32(0), params, opt_state, model, tx)


def _checked(name: str, setting: float | Scalar, below: float = math.inf) -> Scalar:
    """Convert a setting to `f32[]`; `ValueError` unless it is one number in [0, below). Tracers are not compared."""
    if callable(setting):
        raise ValueError(f"{name} must be a number; a function of the step is the argument schedule")
    value = jnp.asarray(setting, jnp.float32)
    if value.shape:
        raise ValueError(f"{name} must be one number, not an array of shape {value.shape}; see jax.vmap for several")
    if not isinstance(value, jax.core.Tracer) and not 0 <= np.asarray(value) < below:
        raise ValueError(f"{name} must be at least 0 and, as float32, below {below}, not {setting}")
    return value


@functools.cache
def _optimizer(
    optimizer: Optimizer, weight_decay_mode: WeightDecayMode, schedule: optax.Schedule | None
) -> optax.GradientTransformation:
    """An optimizer with PyTorch's eps, 1e-8, and with its settings as leaves of its state."""
    if optimizer not in get_args(Optimizer):
        raise ValueError(f"unknown optimizer {optimizer!r}; choose {get_args(Optimizer)}")
    if weight_decay_mode not in get_args(WeightDecayMode):
        raise ValueError(f"unknown weight_decay_mode {weight_decay_mode!r}; choose {get_args(WeightDecayMode)}")

    def make(learning_rate: Scalar, weight_decay: Scalar, beta1: Scalar, beta2: Scalar) -> optax.GradientTransformation:
        decay, scale = optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate)
        update = scale_by_adam(beta1, beta2) if optimizer == "adam" else scale_by_muon(beta1, beta2)
        tx = optax.chain(update, decay, scale)
        if weight_decay_mode == "l2":
            tx = optax.chain(decay, optax.chain(update, scale))
        return optax.chain(tx, optax.scale_by_schedule(schedule)) if schedule else tx

    return optax.inject_hyperparams(make, hyperparam_dtype=jnp.float32)(
        learning_rate=0.0, weight_decay=0.0, beta1=0.0, beta2=0.0
    )


def _init_params(model: nn.Module, key: RandomKey) -> Params:
    return model.init(key, jnp.zeros((1, 28, 28, 1), jnp.float32))["params"]


# It runs once: the same bits, compiled in half the time. JAX takes compiler options of the outermost `jax.jit` alone.
_init = jax.jit(_init_params, static_argnums=0, compiler_options={"xla_backend_optimization_level": 1})
_traced_init = jax.jit(_init_params, static_argnums=0)
_init_opt_state = jax.jit(lambda tx, params: tx.init(params), static_argnums=0)
