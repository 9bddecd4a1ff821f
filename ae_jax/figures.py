"""Figures of a run, from arrays to a matplotlib `Figure`. Import lazily: importing matplotlib takes a second."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ae_jax.types import HostImages

DPI = 150
# Found by search: luminance 0.146 to 0.294, so a contrast of at least 3 on white and on #1a2029, and as far apart in
# OKLab as can be, as seen with normal vision (0.136) and with protanopia, deuteranopia and tritanopia (0.06 to 0.07).
PALETTE = (
    *("#096bdb", "#a2590e", "#04a498", "#c43061", "#8357b1"),
    *("#8a9406", "#d5756d", "#137679", "#ca69cc", "#8187ff"),
)
MODEL_COLOR, BASELINE_COLOR = PALETTE[0], "#767676"
_MAX_COLUMNS = 10
default_style = style.context("default")  # decorates what draws: the user's matplotlibrc does not count
_Names: TypeAlias = Sequence[str]


def label_colors(num_labels: int) -> list[str]:
    """A colour per label, as hex: of the palette, or evenly spaced for more labels than it has colours."""
    if num_labels <= len(PALETTE):
        return list(PALETTE[:num_labels])
    return [to_hex(color) for color in colormaps["viridis"](np.linspace(0, 1, num_labels))]


@default_style
def figure_bytes(figure: Figure, suffix: str) -> bytes:
    """Encode a figure in the file format of `suffix`, such as `.png`."""
    for text in figure.findobj(Text):  # a dollar sign in the name of a dataset's file starts no formula
        if "$" in text.get_text() and "mathdefault" not in text.get_text():  # as in matplotlib's own tick labels
            text.set_parse_math(False)
    content = io.BytesIO()
    figure.savefig(content, format=suffix.removeprefix("."))
    return content.getvalue()


@default_style
def reconstruction_figure(
    images: HostImages, recons: HostImages, title: str, *, noisy: HostImages | None = None
) -> Figure:
    """Plot `images` above their reconstructions, all in [0, 1], with the `noisy` model inputs in between if given."""
    kinds = {"original": images} | ({} if noisy is None else {"noisy": noisy}) | {"reconstruction": recons}
    n, columns = len(images), min(len(images), _MAX_COLUMNS)
    blocks = -(-n // columns)
    grid = np.full((len(kinds), blocks * columns, 28, 28), np.nan, np.float32)
    grid[:, :n] = [array[..., 0] for array in kinds.values()]
    rows = grid.reshape(-1, blocks, columns, 28, 28).swapaxes(0, 1).reshape(-1, columns, 28, 28)
    figure = Figure(figsize=(max(columns, 5) + 1, len(rows) + 0.4), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    show_grid(axes, rows, list(kinds) * blocks)
    return figure


@default_style
def loss_figure(losses: Mapping[str, Sequence[float]], *, baseline: float, baseline_name: str, title: str) -> Figure:
    """Plot losses per epoch by name: squared errors with the baseline's as a line, and cross-entropies beside them."""
    is_error = {name: "cross-entropy" not in name for name in losses}
    panels = sorted(set(is_error.values()), reverse=True)
    figure = Figure(figsize=(6.4 * len(panels), 4), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, of_errors in zip(grid, panels, strict=True):
        shown = {name: values for name, values in losses.items() if is_error[name] == of_errors}
        for (name, values), marker, color in zip(shown.items(), "os^", PALETTE, strict=False):
            axes.plot(range(1, len(values) + 1), values, f"{marker}-", markersize=4, color=color, label=name)
        scale_for_errors(axes, max(map(len, shown.values())))
    grid[0].axhline(baseline, color=BASELINE_COLOR, linestyle="--", label=baseline_name)
    for axes in grid:
        axes.legend()
    if len(grid) > 1:
        grid[1].set_ylabel("binary cross-entropy per pixel (nats)")
    return figure


def scale_for_errors(axes: Axes, num_epochs: int) -> None:
    """Format `axes` for errors per epoch: labels, logarithmic y axis, integer epoch ticks, grid."""
    axes.set(xlabel="epoch", ylabel="mean squared error per pixel", yscale="log")
    axes.set_xlim(0.5, num_epochs + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6, 8)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(visible=True, alpha=0.3)


def show(axes: Axes, image: Float[np.ndarray, "h w"], **kwargs: Any) -> Any:
    """Show an image without ticks and frame; `kwargs` of `imshow` override the grey scale from 0 to 1."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes.imshow(image, **{"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest", **kwargs})


def show_grid(
    axes: Axes, grid: Float[np.ndarray, "n m h w"], rows: _Names = (), columns: _Names = (), gap: int = 2, **kwargs: Any
) -> Any:
    """Show a grid of images as by `show`, with the names of all rows or columns if given, and blank gaps."""
    n, m, h, w = grid.shape
    padded = np.pad(grid, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=np.nan)
    image = padded.transpose(0, 2, 1, 3).reshape(n * (h + gap), m * (w + gap))[:-gap, :-gap]
    shown = show(axes, image, **kwargs)
    axes.set_yticks(np.arange(len(rows)) * (h + gap) + (h - 1) / 2, rows)
    axes.set_xticks(np.arange(len(columns)) * (w + gap) + (w - 1) / 2, columns)
    if rows:
        axes.tick_params(length=0)
    return shown
