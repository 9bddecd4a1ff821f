"""Figures of a run, from arrays to a matplotlib `Figure`. Import lazily: importing matplotlib takes a second."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

FloatImages: TypeAlias = Float[np.ndarray, "n 28 28 1"]

DPI = 150
# Colour-blind safe: Petroff 2021, "Accessible color sequences for data visualization", arXiv:2107.02270.
_PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
_MAX_COLUMNS = 10


def label_colors(num_labels: int) -> list[str]:
    """A colour per label, as hex: of the palette, or evenly spaced for more labels than it has colours."""
    if num_labels <= len(_PALETTE):
        return list(_PALETTE[:num_labels])
    return [to_hex(color) for color in colormaps["viridis"](np.linspace(0, 1, num_labels))]


def figure_bytes(figure: Figure, suffix: str) -> bytes:
    """Encode a figure in the file format of `suffix`, such as `.png`."""
    _draw_text_literally(figure)
    content = io.BytesIO()
    figure.savefig(content, format=suffix.removeprefix("."))
    return content.getvalue()


def _draw_text_literally(figure: Figure) -> None:
    """Escape what is not printable, and start no formula at a dollar sign: titles contain names of files."""
    for text in figure.findobj(Text):
        content = text.get_text()
        text.set_text("".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in content))
        if "$" in content and "mathdefault" not in content:  # tick labels are formulas of matplotlib's
            text.set_parse_math(False)


def reconstruction_figure(
    images: FloatImages, recons: FloatImages, title: str, *, noisy: FloatImages | None = None
) -> Figure:
    """Plot `images` above their reconstructions, all in [0, 1], with the `noisy` model inputs in between if given."""
    kinds = {"original": images, "noisy": noisy, "reconstruction": recons}
    arrays = {name: array for name, array in kinds.items() if array is not None}
    columns = min(len(images), _MAX_COLUMNS)
    blocks = -(-len(images) // columns)
    padding = ((0, 0), (0, blocks * columns - len(images)), (0, 0), (0, 0))
    cells = np.pad(np.stack(list(arrays.values()))[..., 0], padding, constant_values=np.nan)  # [kinds, cells, 28, 28]
    grid = cells.reshape(-1, blocks, columns, 28, 28).swapaxes(0, 1).reshape(-1, columns, 28, 28)
    figure = Figure(figsize=(max(columns, 5) + 1, len(grid) + 0.4), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    show(axes, tile(grid))
    label_rows(axes, list(arrays) * blocks, 28)
    return figure


def loss_figure(losses: Mapping[str, Sequence[float]], *, baseline: float, baseline_name: str, title: str) -> Figure:
    """Plot losses per epoch by name, with the baseline's error as a horizontal line."""
    figure = Figure(figsize=(6.4, 4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for (name, values), marker in zip(losses.items(), "os^", strict=False):
        axes.plot(range(1, len(values) + 1), values, f"{marker}-", markersize=4, label=name)
    axes.axhline(baseline, color="gray", linestyle="--", label=baseline_name)
    axes.set(title=title, ylabel="mean squared error per pixel")
    scale_for_errors(axes, max(map(len, losses.values())))
    axes.legend()
    return figure


def scale_for_errors(axes: Axes, num_epochs: int) -> None:
    """Format `axes` for errors per epoch: logarithmic y axis, integer epoch ticks, grid."""
    axes.set(xlabel="epoch", yscale="log")
    axes.set_xlim(0.5, num_epochs + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6, 8)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(visible=True, alpha=0.3)


def tile(images: Float[np.ndarray, "rows columns h w"], gap: int = 2) -> Float[np.ndarray, "h_all w_all"]:
    """Tile a grid of images into one image, with gaps of `gap` NaN pixels, which matplotlib leaves blank."""
    rows, columns, h, w = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=np.nan)
    return padded.transpose(0, 2, 1, 3).reshape(rows * (h + gap), columns * (w + gap))[:-gap, :-gap]


def show(axes: Axes, image: Float[np.ndarray, "h w"], **kwargs: Any) -> Any:
    """Show an image without ticks and frame; `kwargs` of `imshow` override the grey scale from 0 to 1."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes.imshow(image, **{"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest", **kwargs})


def label_rows(axes: Axes, names: list[str], height: int, gap: int = 2) -> None:
    """Label the rows of a `tile` of images `height` pixels tall."""
    axes.set_yticks([i * (height + gap) + (height - 1) / 2 for i in range(len(names))], names)
    axes.tick_params(length=0)


def label_columns(axes: Axes, names: list[str], width: int, gap: int = 2) -> None:
    """Label the columns of a `tile` of images `width` pixels wide."""
    axes.set_xticks([i * (width + gap) + (width - 1) / 2 for i in range(len(names))], names)
    axes.tick_params(length=0)
