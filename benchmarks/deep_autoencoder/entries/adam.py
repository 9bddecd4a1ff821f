"""Adam with a constant learning rate (Kingma & Ba 2015, arXiv:1412.6980)."""

import optax

TRIALS = [{"learning_rate": x} for x in (2e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3)]


def make_optimizer(num_steps: int, learning_rate: float = 1e-3) -> optax.GradientTransformation:
    """Adam, as the tutorials use it; the length of training does not matter."""
    del num_steps
    return optax.adam(learning_rate)
