"""L-BFGS on mini-batches, with optax's zoom line search on each batch (Nocedal & Wright 2006, chapter 7)."""

import optax

TRIALS = [{"memory_size": x, "max_linesearch_steps": y} for x in (3, 10, 30) for y in (5, 15)]


def make_optimizer(
    num_steps: int, memory_size: int = 10, max_linesearch_steps: int = 15
) -> optax.GradientTransformationExtraArgs:
    """Differences of gradients are of two batches, which is what makes L-BFGS hard here."""
    del num_steps
    linesearch = optax.scale_by_zoom_linesearch(max_linesearch_steps, initial_guess_strategy="one")
    return optax.lbfgs(memory_size=memory_size, linesearch=linesearch)
