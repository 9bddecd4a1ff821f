"""Train state: step, parameters and optimizer state as one frozen pytree, and its initialisation."""

import functools
import math
from collections.abc import Sequence
from typing import Any, get_args

import jax
import numpy as np
import optax
from flax import errors, struct
from flax import linen as nn
from jax import numpy as jnp

from ae_jax.config import Optimizer, WeightDecayMode
from ae_jax.data.batching import as_floats, check_key
from ae_jax.training.optimizers import scale_by_adam, scale_by_muon
from ae_jax.types import Params, RandomKey, Scalar, Step

_ADVICE = "see docs/research.md for modules with BatchNorm or Dropout"


class TrainState(struct.PyTreeNode):
    """Frozen pytree of everything that training updates; model and optimizer are static fields.

    States with equal `model` and `tx` share compiled functions. Models compare by their fields; `create_train_state`
    returns the same `tx` for equal `optimizer`, `weight_decay_mode`, `schedule` and `muon_max_side`.
    """

    step: Step  # i32[], optimizer steps taken
    params: Params
    opt_state: optax.OptState
    model: Any = struct.field(pytree_node=False)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)


def create_train_state(
    model: Any,
    key: RandomKey,
    *,
    inputs: Any = None,
    optimizer: Optimizer = "adam",
    learning_rate: float | Scalar = 1e-3,
    schedule: optax.Schedule | None = None,
    weight_decay: float | Scalar = 1e-5,
    weight_decay_mode: WeightDecayMode = "decoupled",
    betas: tuple[float | Scalar, float | Scalar] = (0.9, 0.999),
    muon_max_side: int | None = None,
    params: Any = None,
    tx: optax.GradientTransformation | None = None,
) -> TrainState:
    """Create the initial train state.

    Args:
      model: a flax module, or with `params` anything hashable that the loss knows how to apply.
      key: for the initial parameters; unused if `params` are given.
      inputs: what the module is initialised on: an array, or a tuple of its arguments; default `f32[1, 28, 28, 1]`.
      optimizer: "adam", or "muon": orthogonal updates for kernels, as matrices with one column per feature,
        and Adam's for all other parameters (Jordan et al. 2024, Liu et al. 2025).
      learning_rate: the learning rate. It, `weight_decay` and `betas` are leaves of the state: they may
        be traced, and new values do not recompile.
      schedule: maps the step to the fraction of `learning_rate` to use; each schedule object compiles separately.
      weight_decay: the weight decay coefficient.
      weight_decay_mode: "decoupled" subtracts `learning_rate · weight_decay · params` (Loshchilov & Hutter
        2019, arXiv:1711.05101; `torch.optim.AdamW`); "l2" adds `weight_decay · params` to the gradient
        (`torch.optim.Adam(weight_decay=…)`).
      betas: Adam's decay rates of the first and second moments; the first is also Muon's momentum.
      muon_max_side: kernels whose smaller side exceeds it, as matrices, have Adam's updates: above some size, their
        orthogonalisation costs more time than it saves.
      params: initial parameters in place of random ones; of a flax module its own, otherwise any pytree of arrays.
      tx: any optax optimizer in place of the settings above; the train step passes it `value`, `grad` and `value_fn`.

    Raises:
      ValueError: `key` is no random key, `params` are not the model's, the model has other variables than parameters or
        needs random numbers to be applied, `optimizer` or `weight_decay_mode` is unknown, there are not two `betas`, a
        setting is not a finite number of at least 0 (of `betas`, also below 1), or there are both `tx` and settings.

    >>> state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), learning_rate=3e-3)
    >>> state.params["encoder_0"]["kernel"].shape
    (784, 128)
    """
    inputs = jnp.zeros((1, 28, 28, 1), jnp.float32) if inputs is None else inputs
    if params is None:
        check_key(key)
        is_traced = any(isinstance(x, jax.core.Tracer) for x in (key, jnp.zeros(())))  # by `jax.vmap`, by `jax.jit`
        params = (_traced_init if is_traced else _init)(model, key, inputs)
    else:
        params = _with_strong_types(params)
        if isinstance(model, nn.Module):
            _check_params(params, model, inputs)
    if tx is not None:
        settings = {"optimizer": optimizer, "learning_rate": learning_rate, "schedule": schedule, "betas": betas}
        settings |= {"weight_decay": weight_decay, "weight_decay_mode": weight_decay_mode}
        _refuse_settings(settings | {"muon_max_side": muon_max_side})
        return TrainState(jnp.int32(0), params, _with_strong_types(tx.init(params)), model, tx)
    if not isinstance(betas, Sequence) or len(betas) != 2:
        raise ValueError(f"betas must be two numbers, not {betas!r}")
    hyperparams = {
        "learning_rate": _checked("learning_rate", learning_rate),
        "weight_decay": _checked("weight_decay", weight_decay),
        "beta1": _checked("betas[0]", betas[0], below=1),
        "beta2": _checked("betas[1]", betas[1], below=1),
    }
    tx = _optimizer(optimizer, weight_decay_mode, schedule, muon_max_side)
    opt_state = _init_opt_state(tx, params)
    opt_state = opt_state._replace(hyperparams=opt_state.hyperparams | hyperparams)
    return TrainState(jnp.int32(0), params, opt_state, model, tx)


def _refuse_settings(settings: dict[str, Any]) -> None:
    """Raise `ValueError` for settings of `create_train_state` that are not its defaults."""
    defaults: Any = create_train_state.__kwdefaults__
    if given := [name for name, value in settings.items() if value is not defaults[name]]:
        raise ValueError(f"tx is an optimizer with settings of its own; leave out {', '.join(given)}, or tx")


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
    optimizer: Optimizer, weight_decay_mode: WeightDecayMode, schedule: optax.Schedule | None, max_side: int | None
) -> optax.GradientTransformation:
    """An optimizer with PyTorch's eps, 1e-8, and with its settings as leaves of its state."""
    if optimizer not in get_args(Optimizer):
        raise ValueError(
            f"unknown optimizer {optimizer!r}; choose {get_args(Optimizer)}, or pass one of optax's as the argument tx"
        )
    if weight_decay_mode not in get_args(WeightDecayMode):
        raise ValueError(f"unknown weight_decay_mode {weight_decay_mode!r}; choose {get_args(WeightDecayMode)}")

    def make(learning_rate: Scalar, weight_decay: Scalar, beta1: Scalar, beta2: Scalar) -> optax.GradientTransformation:
        decay, scale = optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate)
        update = scale_by_adam(beta1, beta2) if optimizer == "adam" else scale_by_muon(beta1, beta2, max_side)
        tx = optax.chain(update, decay, scale)
        if weight_decay_mode == "l2":
            tx = optax.chain(decay, optax.chain(update, scale))
        return optax.chain(tx, optax.scale_by_schedule(schedule)) if schedule else tx

    return optax.inject_hyperparams(make, hyperparam_dtype=jnp.float32)(
        learning_rate=0.0, weight_decay=0.0, beta1=0.0, beta2=0.0
    )


def _init_params(model: nn.Module, key: RandomKey, inputs: Any) -> Params:
    """Initialise a model on `inputs`: an array, another pytree, or a tuple of arguments of the model.

    Raises:
      ValueError: the model has other collections of variables than parameters, or needs random numbers to be applied.
    """
    args = as_floats(inputs if isinstance(inputs, tuple) else (inputs,))
    variables = model.init(key, *args)
    if others := sorted(variables.keys() - {"params"}):
        raise ValueError(f"{type(model).__name__} has the collections {', '.join(others)} beside params; {_ADVICE}")
    try:
        jax.eval_shape(model.apply, variables, *args)
    except errors.InvalidRngError as error:
        message = f"{type(model).__name__} needs random numbers to be applied; {_ADVICE} ({error})"
        raise ValueError(message) from error
    return variables.get("params", {})


def _check_params(params: Params, model: nn.Module, inputs: Any) -> None:
    """Raise `ValueError` unless `params` have the names and shapes of the model's parameters."""
    own = _named_shapes(_traced_init.eval_shape(model, jax.random.key(0), inputs))
    given = _named_shapes(params)
    for name in sorted(given.keys() | own.keys()):
        if given.get(name) != own.get(name):
            shapes = f"{given.get(name, 'missing')}, and {own.get(name, 'unknown')} in {type(model).__name__}"
            raise ValueError(f"params{name} is {shapes}; give params of this model")


def _with_strong_types(tree: Any) -> Any:
    """Arrays of JAX in place of Python's numbers and of weakly typed ones, which a step would change and recompile."""
    is_weak = jax.tree.map(lambda leaf: not isinstance(leaf, jax.Array) or getattr(leaf, "weak_type", False), tree)
    return jax.tree.map(lambda leaf, weak: jnp.asarray(leaf, jnp.result_type(leaf)) if weak else leaf, tree, is_weak)


def _named_shapes(params: Params) -> dict[str, str]:
    return {jax.tree_util.keystr(path): str(jnp.shape(leaf)) for path, leaf in jax.tree.leaves_with_path(params)}


# Runs once, so compile at level 1: half the time, same bits. JAX takes compiler options of the outermost jax.jit alone.
_init = jax.jit(_init_params, static_argnums=0, compiler_options={"xla_backend_optimization_level": 1})
_traced_init = jax.jit(_init_params, static_argnums=0)
_init_opt_state = jax.jit(lambda tx, params: tx.init(params), static_argnums=0)
