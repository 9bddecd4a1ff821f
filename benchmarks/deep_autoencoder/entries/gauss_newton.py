"""Gauss-Newton steps by conjugate gradients: Hessian-free optimization (Martens 2010, ICML; Martens & Sutskever 2012).

Each step minimises the quadratic model `gᵀd + dᵀ(JᵀHJ + λI)d / 2` of the loss on the batch: J is the Jacobian of the
logits, H the Hessian of the cross-entropy in the logits, `σ(z)·(1 - σ(z))`. Products with J and Jᵀ are exact, without
a matrix. Conjugate gradients start at the last direction and are preconditioned by the gradients' squares; λ falls as
long as the model predicts the loss (Levenberg and Marquardt).
"""

from typing import Any, NamedTuple

import jax
import optax
from jax import numpy as jnp
from jax.scipy.sparse.linalg import cg

from ae_jax.types import Params, Scalar, Step
from benchmarks.deep_autoencoder.task import BatchLoss

TRIALS = [{"damping_factor": x, "num_iterations": y} for x in (0.9, 0.97, 0.99) for y in (4, 8)]
_WARM_START = 0.95  # of the last direction (Martens 2010, section 4.7)
_AVERAGE = 0.95  # of the squares of gradients
_LEAST_DAMPING = 1e-6


class GaussNewtonState(NamedTuple):
    """State of the optimizer."""

    step: Step
    direction: Params  # of the last step; 0 if it was refused
    squares: Params  # moving average of the squared gradients
    damping: Scalar  # λ


def make_optimizer(
    num_steps: int, damping_factor: float = 0.97, num_iterations: int = 8
) -> optax.GradientTransformationExtraArgs:
    """A step of `num_iterations` products; steps shrink linearly to 0, which averages the noise of the batches."""

    def init(params: Params) -> GaussNewtonState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return GaussNewtonState(jnp.int32(0), zeros, zeros, jnp.float32(1))

    def update(
        grads: Params, state: GaussNewtonState, params: Params, *, value: Scalar, value_fn: BatchLoss, **_: Any
    ) -> tuple[Params, GaussNewtonState]:
        logits, push = jax.linearize(value_fn.logits, params)
        pull = jax.linear_transpose(push, params)
        probabilities = jax.nn.sigmoid(logits)
        hessian = probabilities * (1 - probabilities) / len(logits)
        squares = jax.tree.map(lambda s, g: _AVERAGE * s + (1 - _AVERAGE) * g**2, state.squares, grads)
        fisher = len(logits) / (1 - _AVERAGE ** (state.step + 1))  # times the squares: the diagonal, roughly

        def product(direction: Params) -> Params:
            (curved,) = pull(hessian * push(direction))
            return jax.tree.map(lambda c, d: c + state.damping * d, curved, direction)

        def precondition(residual: Params) -> Params:  # Martens 2010, section 4.8
            return jax.tree.map(lambda r, s: r / (fisher * s + state.damping) ** 0.75, residual, squares)

        start = jax.tree.map(lambda d: _WARM_START * d, state.direction)
        descent = jax.tree.map(jnp.negative, grads)
        direction, _ = cg(product, descent, start, maxiter=num_iterations, tol=0, M=precondition)
        predicted = _dot(grads, direction) + _dot(direction, product(direction)) / 2
        ratio = (value_fn(optax.apply_updates(params, direction)) - value) / predicted
        ratio = jnp.where(predicted < 0, ratio, 0)
        direction = jax.tree.map(lambda d: jnp.where(ratio > 0, d, 0), direction)
        factor = jnp.where(ratio > 0.75, damping_factor, jnp.where(ratio > 0.25, 1.0, 2.0))
        damping = jnp.maximum(factor * state.damping, _LEAST_DAMPING)
        updates = jax.tree.map(lambda d: (1 - state.step / num_steps) * d, direction)
        return updates, GaussNewtonState(state.step + 1, direction, squares, damping)

    return optax.GradientTransformationExtraArgs(init, update)


def _dot(a: Params, b: Params) -> Scalar:
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)), start=jnp.float32(0))
