"""Muon as in optax (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), with linear decay."""

import optax
from optax import contrib

TRIALS = [{"learning_rate": x, "weight_decay": y} for x in (0.01, 0.015) for y in (0.1, 0.2, 0.4)]


def make_optimizer(
    num_steps: int, learning_rate: float = 0.01, weight_decay: float = 0.4
) -> optax.GradientTransformation:
    """Muon for the kernels and Adam for the biases; `consistent_rms` scales updates as ae_jax does."""
    schedule = optax.linear_schedule(learning_rate, 0, num_steps)
    return contrib.muon(schedule, weight_decay=weight_decay, consistent_rms=0.2)
