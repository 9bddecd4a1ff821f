"""Pictures of a run: arrays in, a matplotlib `Figure` out. Nothing here shows or saves.

Import this module only where a picture is drawn: it imports matplotlib.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

DPI = 150
_MOST_COLUMNS = 10


def figure_bytes(figure: Figure, suffix: str) -> bytes:
    """A figure as the content of a file with that ending."""
    content = io.BytesIO()
    figure.savefig(content, format=suffix.removeprefix("."))
    return content.getvalue()


def reconstruction_figure(
    images: Float[np.ndarray, "n 28 28 1"],
    recons: Float[np.ndarray, "n 28 28 1"],
    title: str,
    *,
    noisy: Float[np.ndarray, "n 28 28 1"] | None = None,
) -> Figure:
    """Rows of `images` above their reconstructions, all in [0, 1]; between them the `noisy` ones that the model saw."""
    kinds = {"original": images, "noisy": noisy, "reconstruction": recons}
    arrays = {name: array for name, array in kinds.items() if array is not None}
    columns = min(len(images), _MOST_COLUMNS)
    blocks = -(-len(images) // columns)
    spare = ((0, 0), (0, blocks * columns - len(images)), (0, 0), (0, 0))
    places = np.pad(np.stack(list(arrays.values()))[..., 0], spare, constant_values=np.nan)  # kinds, places, 28, 28
    grid = places.reshape(-1, blocks, columns, 28, 28).swapaxes(0, 1).reshape(-1, columns, 28, 28)
    figure = Figure(figsize=(max(columns, 5) + 1, len(grid) + 0.4), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    show(axes, tile(grid))
    label_rows(axes, list(arrays) * blocks, 28)
    return figure


def loss_figure(
    train_losses: Sequence[float], test_losses: Sequence[float], *, baseline: float, baseline_name: str, title: str
) -> Figure:
    """The losses after each epoch, from the first on, and a line for the baseline's."""
    epochs = range(1, len(train_losses) + 1)
    figure = Figure(figsize=(6.4, 4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.plot(epochs, train_losses, "o-", markersize=4, label="training images, while training")
    axes.plot(epochs, test_losses, "s-", markersize=4, label="test images")
    axes.axhline(baseline, color="gray", linestyle="--", label=baseline_name)
    axes.set(title=title, ylabel="mean squared error per pixel")
    scale_for_errors(axes, len(train_losses))
    axes.legend()
    return figure


def scale_for_errors(axes: Axes, num_epochs: int) -> None:
    """Have `axes` show errors after each of so many epochs: the errors' logarithm, ticks at whole epochs, a grid."""
    axes.set(xlabel="epoch", yscale="log")
    axes.set_xlim(0.5, num_epochs + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6, 8)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(visible=True, alpha=0.3)


def tile(images: Float[np.ndarray, "rows columns h w"], gap: int = 2) -> Float[np.ndarray, "h_all w_all"]:
    """Rows of images as one image; the lines of `gap` pixels between them are NaN, which matplotlib leaves empty."""
    rows, columns, h, w = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=np.nan)
    return padded.transpose(0, 2, 1, 3).reshape(rows * (h + gap), columns * (w + gap))[:-gap, :-gap]


def show(axes: Axes, image: Float[np.ndarray, "h w"], **kwargs: Any) -> Any:
    """An image without ticks and frame, in grey from 0 to 1 unless `kwargs` say otherwise."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes.imshow(image, **{"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest", **kwargs})


def label_rows(axes: Axes, names: list[str], height: int, gap: int = 2) -> None:
    """A name beside each row of a `tile` of images `height` pixels tall."""
    axes.set_yticks([i * (height + gap) + (height - 1) / 2 for i in range(len(names))], names)
    axes.tick_params(length=0)


def label_columns(axes: Axes, names: list[str], width: int, gap: int = 2) -> None:
    """A name under each column of a `tile` of images `width` pixels wide."""
    axes.set_xticks([i * (width + gap) + (width - 1) / 2 for i in range(len(names))], names)
    axes.tick_params(length=0)
