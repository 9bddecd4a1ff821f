"""Learning curves of a sweep. Import this module only to draw: it imports matplotlib."""

import warnings

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from ae_jax.figures import DPI, scale_for_errors
from ae_jax.sweep.config import SweepConfig


def curves_figure(test_losses: Float[np.ndarray, "epochs members"], config: SweepConfig, title: str) -> Figure:
    """Mean test error of each setting after each epoch; the band is ± one standard deviation over the seeds."""
    epochs = np.arange(1, len(test_losses) + 1)
    figure = Figure(figsize=(7.2, 4.5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    by_setting = np.where(np.isfinite(test_losses), test_losses, np.nan).reshape(len(epochs), -1, config.seeds)
    for i, (learning_rate, weight_decay) in enumerate(config.settings):
        losses = by_setting[:, i]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no seeds, where all diverged
            mean, std = np.nanmean(losses, axis=1), np.nanstd(losses, axis=1, ddof=1 if config.seeds > 1 else 0)
        label = f"learning rate {learning_rate:g}"
        label += f", weight decay {weight_decay:g}" if len(config.weight_decay) > 1 else ""
        (line,) = axes.plot(epochs, mean, "o-", markersize=3, label=label)
        axes.fill_between(epochs, mean - std, mean + std, color=line.get_color(), alpha=0.2, linewidth=0)
    seeds = f"mean ± standard deviation of {config.seeds} seeds" if config.seeds > 1 else "one seed"
    axes.set(title=f"{title}: {seeds}", ylabel="test MSE per pixel")
    scale_for_errors(axes, len(epochs))
    axes.legend(fontsize="small", ncols=2 if len(config.settings) > 8 else 1)
    return figure
