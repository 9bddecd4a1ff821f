"""Gauss-Newton steps by conjugate gradients: Hessian-free optimization (Martens 2010, ICML; Martens & Sutskever 2012).

Each step minimises the quadratic model `gᵀd + dᵀ(JᵀHJ + λI)d / 2` of the loss on the batch: J is the Jacobian of the
logits, H the Hessian of the cross-entropy in the logits, `σ(z)·(1 - σ(z))`. Products with J and Jᵀ are exact, without
a matrix. λ follows the rule of Levenberg and Marquardt.
"""

from typing import Any, NamedTuple

import jax
import optax
from jax import numpy as jnp
from jax.scipy.sparse.linalg import cg

from ae_jax.types import Params, Scalar, Step
from benchmarks.deep_autoencoder.task import BatchLoss

TRIALS = [{"damping": x, "num_iterations": y} for x in (0.3, 1.0, 3.0) for y in (4, 8)]
_WARM_START = 0.95  # of the last direction, where conjugate gradients start (Martens 2010, section 4.7)
_DAMPING_STEP = 0.99  # λ changes by this factor per step


class GaussNewtonState(NamedTuple):
    """State of the optimizer."""

    step: Step
    direction: Params  # of the last step
    damping: Scalar


def make_optimizer(
    num_steps: int, damping: float = 1.0, num_iterations: int = 4
) -> optax.GradientTransformationExtraArgs:
    """A step of `num_iterations` products; steps shrink linearly to 0, which averages the noise of the batches."""

    def init(params: Params) -> GaussNewtonState:
        return GaussNewtonState(jnp.int32(0), jax.tree.map(jnp.zeros_like, params), jnp.float32(damping))

    def update(
        grads: Params,
        state: GaussNewtonState,
        params: Params,
        *,
        value: Scalar,
        value_fn: BatchLoss,
        **_: Any,
    ) -> tuple[Params, GaussNewtonState]:
        logits, push = jax.linearize(value_fn.logits, params)
        pull = jax.linear_transpose(push, params)
        probabilities = jax.nn.sigmoid(logits)
        hessian = probabilities * (1 - probabilities) / len(logits)

        def product(direction: Params) -> Params:
            (curved,) = pull(hessian * push(direction))
            return jax.tree.map(lambda c, d: c + state.damping * d, curved, direction)

        start = jax.tree.map(lambda d: _WARM_START * d, state.direction)
        descent = jax.tree.map(jnp.negative, grads)
        direction, _ = cg(product, descent, start, maxiter=num_iterations, tol=0)
        predicted = _dot(grads, direction) + _dot(direction, product(direction)) / 2
        change = value_fn(optax.apply_updates(params, direction)) - value
        ratio = jnp.where(predicted < 0, change / predicted, 0)  # after few products, no descent may be predicted
        factor = jnp.where(ratio > 0.75, _DAMPING_STEP, jnp.where(ratio < 0.25, 1 / _DAMPING_STEP, 1.0))
        scale = 1 - state.step / num_steps
        updates = jax.tree.map(lambda d: scale * d, direction)
        return updates, GaussNewtonState(state.step + 1, direction, state.damping * factor)

    return optax.GradientTransformationExtraArgs(init, update)


def _dot(a: Params, b: Params) -> Scalar:
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)), start=jnp.float32(0))
