"""Learning curves of a sweep. Import this module only to draw: it imports matplotlib."""

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ae_jax.figures import DPI, scale_for_errors
from ae_jax.runs.progress import EpochMetricsOf
from ae_jax.sweep.config import SweepConfig


def curves_figure(history: Sequence[EpochMetricsOf[list[float]]], config: SweepConfig, title: str) -> Figure:
    """Mean validation error of each setting after each epoch; the band is ± one standard deviation over the seeds.

    Without validation images, the test error.
    """
    kind = "test" if history[-1].validation_loss is None else "validation"
    losses = np.array([getattr(metrics, f"{kind}_loss") for metrics in history], np.float64)  # [epochs, members]
    epochs = np.arange(1, len(history) + 1)
    figure = Figure(figsize=(7.2, 4.5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    by_setting = np.where(np.isfinite(losses), losses, np.nan).reshape(len(epochs), -1, config.seeds)
    for i, (learning_rate, weight_decay) in enumerate(config.settings):
        own = by_setting[:, i]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no seeds, where all diverged
            mean, std = np.nanmean(own, axis=1), np.nanstd(own, axis=1, ddof=1 if config.seeds > 1 else 0)
        label = f"learning rate {learning_rate:g}"
        label += f", weight decay {weight_decay:g}" if len(config.weight_decay) > 1 else ""
        (line,) = axes.plot(epochs, mean, "o-", markersize=3, label=label)
        axes.fill_between(epochs, mean - std, mean + std, color=line.get_color(), alpha=0.2, linewidth=0)
    seeds = f"mean ± standard deviation of {config.seeds} seeds" if config.seeds > 1 else "one seed"
    axes.set(title=f"{title}: {seeds}", ylabel=f"{kind} MSE per pixel")
    scale_for_errors(axes, len(epochs))
    axes.legend(fontsize="small", ncols=2 if len(config.settings) > 8 else 1)
    return figure
