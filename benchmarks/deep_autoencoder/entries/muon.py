"""Muon as in ae_jax: Newton-Schulz iterations on Gram matrices, with decoupled weight decay and linear decay."""

import optax

from ae_jax.training.optimizers import scale_by_muon

TRIALS = [{"learning_rate": x, "weight_decay": y} for x in (0.01, 0.015) for y in (0.1, 0.2, 0.4)]


def make_optimizer(
    num_steps: int, learning_rate: float = 0.015, weight_decay: float = 0.4
) -> optax.GradientTransformation:
    """Muon for the kernels and Adam for the biases, with one learning rate."""
    schedule = optax.linear_schedule(learning_rate, 0, num_steps)
    decay = optax.add_decayed_weights(weight_decay)
    return optax.chain(scale_by_muon(0.95, 0.999), decay, optax.scale_by_learning_rate(schedule))
