"""Schedule-free AdamW (Defazio et al. 2024, arXiv:2405.15682)."""

from typing import Any

import optax
from optax import contrib

from ae_jax.types import Params

TRIALS = [{"learning_rate": x, "weight_decay": y} for x in (1e-3, 2e-3, 4e-3) for y in (1e-3, 0.02)]


def make_optimizer(
    num_steps: int, learning_rate: float = 2e-3, weight_decay: float = 1e-3
) -> optax.GradientTransformation:
    """The warm-up takes 5 % of the steps; there is no decay."""
    return contrib.schedule_free_adamw(learning_rate, warmup_steps=max(num_steps // 20, 1), weight_decay=weight_decay)


def eval_params(opt_state: Any, params: Params) -> Params:
    """The averaged parameters; gradients are taken elsewhere."""
    return contrib.schedule_free_eval_params(opt_state, params)
