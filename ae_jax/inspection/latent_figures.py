"""Pictures of codes: where they lie, and what they look like. Arrays in, a matplotlib `Figure` out."""

import math
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.figure import Figure

from ae_jax.figures import DPI, show
from ae_jax.types import HostCodes

Labels: TypeAlias = Int[np.ndarray, "n"] | None

# Ten colours that the colour-blind tell apart too: Petroff 2021, "Accessible color sequences for data visualization",
# arXiv:2107.02270.
_TEN = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
_VIEWS = ((20, -60), (20, 30))  # elevation and azimuth, degrees
_OUTLINE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}


def scatter_figure(codes: HostCodes, labels: Labels, title: str) -> Figure:
    """A point an image, coloured by its label, whose name stands at the label's median.

    Codes of up to 3 numbers as they are, of 3 from two angles; longer ones along their first two principal axes.
    """
    if codes.shape[1] == 3:
        return _scatter_in_space(codes, labels, title)
    figure = Figure(figsize=(7.6, 6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    points, (across, up) = _in_plane(codes, labels)
    _scatter(axes, points, labels)
    _add_legend(figure, axes)
    axes.set(title=title, xlabel=across, ylabel=up)
    return figure


def code_images_figure(images: Float[np.ndarray, "labels n 28 28"], codes: Any, names: list[str], title: str) -> Figure:
    """For each label a row of its images, each with its code beside it as an image: 64 numbers as 8 × 8, row by row.

    Args:
      images: in [0, 1].
      codes: `f32[labels, n, d]`.
      names: of the labels.
      title: above the figure.
    """
    rows, columns, _ = codes.shape
    figure = Figure(figsize=(1.45 * columns + 1, 0.66 * rows + 0.9), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=(1, 1) * columns)
    limit = np.quantile(np.abs(codes), 0.995)
    for row in range(rows):
        for column in range(columns):
            show(grid[row, 2 * column], images[row, column])
            shown = show(
                grid[row, 2 * column + 1], _as_square(codes[row, column]), cmap="RdBu_r", vmin=-limit, vmax=limit
            )
        grid[row, 0].set_ylabel(names[row], rotation=0, labelpad=10, verticalalignment="center")
    figure.colorbar(shown, ax=grid, shrink=0.5, label="a number of the code", pad=0.01)
    figure.suptitle(title)
    return figure


def _as_square(code: Float[np.ndarray, "d"]) -> Float[np.ndarray, "side side"]:
    """The numbers row by row, up to 3 below each other; places left over are NaN."""
    side = len(code) if len(code) <= 3 else math.isqrt(len(code) - 1) + 1
    square = np.full((side, side), np.nan, np.float32)
    order = square.T if len(code) <= 3 else square
    order.flat[: len(code)] = code
    return square


def _scatter_in_space(codes: HostCodes, labels: Labels, title: str) -> Figure:
    figure = Figure(figsize=(12, 5.2), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    for place, (elevation, azimuth) in enumerate(_VIEWS, start=1):
        axes: Any = figure.add_subplot(1, 2, place, projection="3d")
        axes.view_init(elevation, azimuth)
        _scatter(axes, codes, labels)
        axes.set(xlabel="first number", ylabel="second number", zlabel="third number")
        axes.set_title(f"seen from {azimuth}°", fontsize="medium")
    _add_legend(figure, axes)
    return figure


def _scatter(axes: Any, points: Float[np.ndarray, "n dims"], labels: Labels) -> None:
    if labels is None:
        axes.scatter(*points.T, s=7, color=_TEN[0], alpha=0.6, linewidths=0)
        return
    classes = np.unique(labels)
    colors = _TEN if len(classes) <= len(_TEN) else colormaps["viridis"](np.linspace(0, 1, len(classes)))
    for label, color in zip(classes, colors, strict=False):
        axes.scatter(*points[labels == label].T, s=7, color=color, alpha=0.7, linewidths=0, label=label)
    for label in classes:
        middle = np.median(points[labels == label], axis=0)
        axes.text(*middle, str(label), weight="bold", ha="center", va="center", bbox=_OUTLINE, zorder=10)


def _add_legend(figure: Figure, axes: Any) -> None:
    """The colours of all labels, to the right of everything."""
    points, names = axes.get_legend_handles_labels()
    if names:
        columns = 1 + len(names) // 20
        figure.legend(points, names, title="label", loc="outside right center", markerscale=3, ncols=columns)


def _in_plane(codes: HostCodes, labels: Labels) -> tuple[Float[np.ndarray, "n 2"], tuple[str, str]]:
    """Two coordinates of each code, and what they are."""
    if codes.shape[1] == 1:
        up = np.zeros(len(codes)) if labels is None else labels
        jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(codes))
        return np.stack([codes[:, 0], up + jitter], axis=1), ("the code", "label")
    if codes.shape[1] == 2:
        return codes, ("first number", "second number")
    _, axes, shares = principal_axes(codes)
    names = [f"principal axis {i + 1} ({shares[i]:.0%} of the variance)" for i in range(2)]
    return (codes - codes.mean(0)) @ axes[:, :2], (names[0], names[1])


def principal_axes(codes: HostCodes) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"], Float[np.ndarray, "d"]]:
    """Along their principal axes the codes' standard deviations, the axes as columns, and shares of the variance."""
    variances, axes = np.linalg.eigh(np.cov(codes, rowvar=False).reshape(codes.shape[1], -1))
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    return np.sqrt(variances), axes, variances / max(variances.sum(), 1e-12)
