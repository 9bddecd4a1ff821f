"""Figures of latent codes, as points and as heat maps. Arrays in, a matplotlib `Figure` out."""

import math
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ae_jax.figures import DPI, label_colors, show
from ae_jax.metrics.quality import plot_points
from ae_jax.types import HostCodes

OptionalLabels: TypeAlias = Int[np.ndarray, "n"] | None
Points: TypeAlias = Float[np.ndarray, "n dims"]

_VIEWS = ((20, -60), (20, 30))  # elevation and azimuth, degrees
_OUTLIERS = 0.005  # share of points beyond either end of an axis of the space
_OUTLINE = withStroke(linewidth=3, foreground="white")  # of text on points


def scatter_figure(codes: HostCodes, labels: OptionalLabels, title: str) -> Figure:
    """Scatter plot of latent codes by label: 3 dimensions from two angles, more by two principal components."""
    points, names = plot_points(codes, labels)
    if len(names) == 3:
        return _scatter_figure_3d(points, labels, names, title)
    figure = Figure(figsize=(7.6, 6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    _scatter(axes, points, labels)
    _add_legend(figure, axes)
    axes.set(title=title, xlabel=names[0], ylabel=names[1])
    return figure


def code_images_figure(images: Float[np.ndarray, "labels n 28 28"], codes: Any, names: list[str], title: str) -> Figure:
    """One row per label: images in [0, 1] and their codes `f32[labels, n, d]` as heat maps, 64 dimensions as 8 × 8."""
    rows, columns, _ = codes.shape
    figure = Figure(figsize=(1.45 * columns + 1, 0.66 * rows + 0.9), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=(1, 1) * columns)
    limit = np.quantile(np.abs(codes), 0.995)
    for row in range(rows):
        for column in range(columns):
            show(grid[row, 2 * column], images[row, column])
            heat_map = _to_square(codes[row, column])
            shown = show(grid[row, 2 * column + 1], heat_map, cmap="RdBu_r", vmin=-limit, vmax=limit)
        grid[row, 0].set_ylabel(names[row], rotation=0, labelpad=10, verticalalignment="center")
    figure.colorbar(shown, ax=grid, shrink=0.5, label="latent value", pad=0.01)
    figure.suptitle(title)
    return figure


def _to_square(code: Float[np.ndarray, "d"]) -> Float[np.ndarray, "side side"]:
    """The code in row-major order, or as one column for up to 3 dimensions; the rest is NaN."""
    side = len(code) if len(code) <= 3 else math.isqrt(len(code) - 1) + 1
    square = np.full((side, side), np.nan, np.float32)
    order = square.T if len(code) <= 3 else square
    order.flat[: len(code)] = code
    return square


def _scatter_figure_3d(points: Points, labels: OptionalLabels, names: list[str], title: str) -> Figure:
    figure = Figure(figsize=(12, 5.6), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    limits: Any = zip(("xlim", "ylim", "zlim"), np.quantile(points, (_OUTLIERS, 1 - _OUTLIERS), axis=0).T, strict=True)
    settings = {"xlabel": names[0], "ylabel": names[1], "zlabel": names[2], **dict(limits)}
    for i, (elevation, azimuth) in enumerate(_VIEWS, start=1):
        axes: Any = figure.add_subplot(1, 2, i, projection="3d", computed_zorder=False)  # text on top
        axes.view_init(elevation, azimuth)
        _scatter(axes, points, labels)
        axes.locator_params(nbins=5)
        axes.set_box_aspect((1, 1, 0.85))
        axes.set(**settings)
    _add_legend(figure, axes)
    return figure


def _scatter(axes: Any, points: Points, labels: OptionalLabels) -> None:
    if labels is None:
        axes.scatter(*points.T, s=7, color=label_colors(1)[0], alpha=0.6, linewidths=0)
        return
    classes = np.unique(labels)
    for label, color in zip(classes, label_colors(len(classes)), strict=True):
        axes.scatter(*points[labels == label].T, s=7, color=color, alpha=0.7, linewidths=0, label=label)
    for label in classes:
        median = np.median(points[labels == label], axis=0)
        axes.text(*median, str(label), weight="bold", ha="center", va="center", path_effects=[_OUTLINE], zorder=10)


def _add_legend(figure: Figure, axes: Any) -> None:
    """Add a legend of all labels to the right of the axes."""
    handles, names = axes.get_legend_handles_labels()
    if names:
        columns = 1 + len(names) // 20
        figure.legend(handles, names, title="label", loc="outside right center", markerscale=3, ncols=columns)
