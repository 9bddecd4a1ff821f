"""SGD with Nesterov momentum on a growing schedule (Sutskever, Martens, Dahl & Hinton 2013, ICML, equation 5)."""

import optax
from jax import numpy as jnp

from ae_jax.types import Scalar, Step

TRIALS = [{"learning_rate": x, "max_momentum": y} for x in (0.001, 0.002, 0.004) for y in (0.98, 0.99)]


def make_optimizer(
    num_steps: int, learning_rate: float = 0.002, max_momentum: float = 0.99
) -> optax.GradientTransformation:
    """The momentum grows as `1 - 1 / (2·(floor(t / period) + 1))` up to its maximum; it is 0.9 in the last tenth.

    There the period was 250 of 750,000 steps; here it is a hundredth of the run, so that the maximum is reached.
    """

    def momentum(step: Step) -> Scalar:
        growing = 1 - 0.5 / (step // max(num_steps // 100, 1) + 1)
        return jnp.where(step < 0.9 * num_steps, jnp.minimum(growing, max_momentum), 0.9)

    def make(decay: Scalar) -> optax.GradientTransformation:
        return optax.sgd(learning_rate, momentum=decay, nesterov=True)

    return optax.inject_hyperparams(make)(decay=momentum)
