"""L-BFGS on mini-batches, with optax's zoom line search on each batch (Nocedal & Wright 2006, chapter 7)."""

import optax

TRIALS = [{"memory_size": x, "initial_guess_strategy": y} for x in (3, 10, 30) for y in ("one", "keep")]


def make_optimizer(
    num_steps: int, memory_size: int = 30, initial_guess_strategy: str = "one"
) -> optax.GradientTransformationExtraArgs:
    """Differences of gradients are of two batches, which is what makes L-BFGS hard here."""
    del num_steps
    linesearch = optax.scale_by_zoom_linesearch(15, initial_guess_strategy=initial_guess_strategy)
    return optax.lbfgs(memory_size=memory_size, linesearch=linesearch)
