"""AdamW with a short warm-up and linear decay to 0 (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

import optax

TRIALS = [{"learning_rate": x, "weight_decay": y} for x in (1e-3, 2e-3, 4e-3) for y in (1e-3, 0.02)]


def make_optimizer(
    num_steps: int, learning_rate: float = 2e-3, weight_decay: float = 0.02
) -> optax.GradientTransformation:
    """AdamW; the warm-up takes 5 % of the steps."""
    warmup = num_steps // 20
    pieces = [
        optax.linear_schedule(0, learning_rate, warmup),
        optax.linear_schedule(learning_rate, 0, num_steps - warmup),
    ]
    return optax.adamw(optax.join_schedules(pieces, [warmup]), weight_decay=weight_decay)
