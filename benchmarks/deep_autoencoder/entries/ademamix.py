"""AdEMAMix: Adam with a second, slow momentum (Pagliardini et al. 2024, arXiv:2409.03137), with linear decay."""

import optax
from optax import contrib

TRIALS = [{"learning_rate": x, "alpha": y} for x in (5e-4, 1e-3, 2e-3) for y in (2.0, 5.0)]


def make_optimizer(num_steps: int, learning_rate: float = 1e-3, alpha: float = 2.0) -> optax.GradientTransformation:
    """The slow momentum averages over about a tenth of the steps."""
    schedule = optax.linear_schedule(learning_rate, 0, num_steps)
    return contrib.ademamix(schedule, b3=1 - 10 / num_steps, alpha=alpha, weight_decay=0.02)
