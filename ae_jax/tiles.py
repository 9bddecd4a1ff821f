"""Many small images in one: how pictures lay out what a model makes."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes


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
