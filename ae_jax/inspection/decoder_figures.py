"""Figures of decoded latent codes: interpolations, traversals, grids. Arrays in, a matplotlib `Figure` out."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from ae_jax.figures import DPI, label_columns, label_rows, show, tile

Tiles: TypeAlias = Float[np.ndarray, "rows columns 28 28"]


def interpolations_figure(recons: Tiles, names: list[str], title: str) -> Figure:
    """One row per linear interpolation between the latent codes of two images."""
    rows, columns = recons.shape[:2]
    figure = Figure(figsize=(0.62 * columns + 0.9, 0.62 * rows + 0.9), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    show(axes, tile(recons))
    label_rows(axes, names, 28)
    label_columns(axes, [f"{fraction:g}" for fraction in np.linspace(0, 1, columns).round(3)], 28)
    axes.set(title=title, xlabel="interpolation (fraction)")
    return figure


def traversals_figure(recons: Tiles, steps: Float[np.ndarray, "columns"], title: str) -> Figure:
    """One row per latent dimension, varied alone around the mean code by `steps` standard deviations."""
    dims, columns = recons.shape[:2]
    blocks = min(4, -(-dims // 16))
    rows = -(-dims // blocks)
    side = 0.42 if blocks > 1 else 0.9  # inches per image
    size = (side * columns * blocks + 0.5 * blocks, side * rows + 1)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    for block, axes in enumerate(figure.subplots(1, blocks, squeeze=False)[0]):
        shown = recons[block * rows : (block + 1) * rows]
        show(axes, tile(shown))
        label_rows(axes, [str(block * rows + i + 1) for i in range(len(shown))], 28)
        label_columns(axes, [f"{step:+g}" if step else "mean" for step in steps], 28)
        axes.tick_params(labelsize="small")
    figure.suptitle(title)
    figure.supxlabel("standard deviations from the mean code", fontsize="medium")
    figure.supylabel("latent dimension", fontsize="medium")
    return figure


def latent_grid_figure(recons: Tiles, extents: tuple[float, float], title: str) -> Figure:
    """A decoded grid around the mean code that spans ± `extents` along the first two principal components."""
    figure = Figure(figsize=(7, 7), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    right, top = extents
    show(axes, tile(recons, gap=1), extent=(-right, right, -top, top), aspect=right / top)
    axes.set_xticks(np.linspace(-right, right, 5))
    axes.set_yticks(np.linspace(-top, top, 5))
    axes.tick_params(labelsize="small")
    axes.xaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.set(xlabel="principal component 1", ylabel="principal component 2", title=title)
    return figure


def extremes_figure(
    pairs: Float[np.ndarray, "groups 2 n 28 28"], errors: Float[np.ndarray, "groups n"], title: str
) -> Figure:
    """The best and the worst reconstructions below their originals, with the error of each image."""
    groups, _, n = pairs.shape[:3]
    figure = Figure(figsize=(0.8 * n + 1, 2.15 * groups + 0.3), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    rows = zip(figure.subplots(groups, 1, squeeze=False)[:, 0], pairs, errors, ("best", "worst"), strict=True)
    for axes, group, values, name in rows:
        show(axes, tile(group))
        label_rows(axes, ["original", name], 28)
        label_columns(axes, [f"{value:.5f}" for value in values], 28)
        axes.tick_params(labelsize="small")
        axes.set_xlabel("mean squared error per image", fontsize="small")
    return figure


def filters_figure(kernels: Float[np.ndarray, "n h w"], title: str) -> Figure:
    """The kernels of the first layer, each divided by its largest absolute weight."""
    n, h, w = kernels.shape
    columns = 16 if n > 32 else 8
    rows = -(-n // columns)
    scaled = kernels / np.maximum(np.abs(kernels).max(axis=(1, 2), keepdims=True), 1e-12)
    padded = np.concatenate([scaled, np.full((rows * columns - n, h, w), np.nan)])
    figure = Figure(figsize=(0.55 * columns + 1, 0.55 * rows + 0.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    gap = max(1, h // 8)
    shown = show(axes, tile(padded.reshape(rows, columns, h, w), gap), cmap="RdBu_r", vmin=-1, vmax=1)
    figure.colorbar(shown, ax=axes, shrink=0.7, pad=0.02, ticks=[-1, 0, 1], label="relative weight")
    axes.set_title(title)
    return figure
