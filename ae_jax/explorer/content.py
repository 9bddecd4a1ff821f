"""Content of the explorer: the model, test images, their codes on a map, and their errors, as JSON types."""

import base64
import io
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from ae_jax.data.batching import normalise_on_host
from ae_jax.data.datasets import Dataset
from ae_jax.explorer.network import describe_network
from ae_jax.figures import LABEL_COLORS
from ae_jax.metrics.image_quality import squared_error
from ae_jax.metrics.pca import principal_axes
from ae_jax.runs.inference import latents
from ae_jax.runs.trained_model import TrainedModel
from ae_jax.types import HostCodes

Errors: TypeAlias = Float[np.ndarray, "n"]

_NUM_IMAGES = 2000  # on the map
_MAX_ERRORS = 10_000
_SPRITE_COLUMNS = 50
_SLIDER_DEVIATIONS = 3.0


class EncodedSet(NamedTuple):
    """A test set, its latent codes and the squared errors of its reconstructions."""

    dataset: Dataset
    latents: HostCodes
    errors: Errors


def encode_test_set(trained: TrainedModel, test_set: Dataset) -> EncodedSet:
    """Encode and decode all images of a test set."""
    images = normalise_on_host(test_set.images)
    code = trained.encode(images)
    return EncodedSet(test_set, latents(code), squared_error(images, trained.decode(code)))


def page_content(trained: TrainedModel, encoded: EncodedSet) -> dict[str, Any]:
    """All that the page's script needs, JSON types; arrays are little-endian and in base64.

    The JSDoc of `Content` in `app.js` has the keys.
    """
    images, codes = encoded.dataset.images, encoded.latents
    model, weights = describe_network(trained.model, trained.params)
    shown = slice(min(_NUM_IMAGES, len(images)))
    labels = None if encoded.dataset.labels is None else encoded.dataset.labels[shown]
    return {
        "model": model,
        "weights": _base64(weights),
        "sprite": _sprite(images[shown, ..., 0]),
        "spriteColumns": _SPRITE_COLUMNS,
        "numImages": shown.stop,
        "labels": None if labels is None else labels.tolist(),
        "colors": LABEL_COLORS,
        "map": _map(codes, shown.stop, labels),
        "sliders": _slider_ranges(codes),
        "errors": _base64(_thin_out(np.sort(encoded.errors))),
    }


def _map(codes: HostCodes, num_shown: int, labels: Any) -> dict[str, Any]:
    """Points of the first codes, and how others are projected: codes of at most 3 dimensions are their own points.

    One dimension is drawn over the label, with jitter; more than three on the plane of two principal axes.
    """
    dims, shown = codes.shape[1], codes[:num_shown]
    names = [f"latent dimension {i + 1}" for i in range(dims)]
    if dims == 1:
        rows = (0 if labels is None else labels) + np.random.default_rng(0).uniform(-0.3, 0.3, num_shown)
        ylabel = "jitter" if labels is None else "label, with jitter"
        return {"points": _base64(np.stack([shown[:, 0], rows], axis=1)), "axes": [*names, ylabel], "plane": None}
    if dims <= 3:
        return {"points": _base64(shown), "axes": names, "plane": None}
    _, axes, ratios = principal_axes(codes)
    mean, plane = codes.mean(0), axes[:, :2]
    names = [f"principal component {i + 1} ({ratios[i]:.0%} of variance)" for i in range(2)]
    projection = {"mean": _base64(mean), "axes": _base64(plane.T)}
    return {"points": _base64((shown - mean) @ plane), "axes": names, "plane": projection}


def _slider_ranges(codes: HostCodes) -> dict[str, str]:
    """Start, least and largest value of each slider: the mean code, and three standard deviations to either side."""
    mean, extent = codes.mean(0), _SLIDER_DEVIATIONS * np.maximum(codes.std(0), 1e-3)
    return {"mean": _base64(mean), "min": _base64(mean - extent), "max": _base64(mean + extent)}


def _thin_out(errors: Errors) -> Float[np.ndarray, "m"]:
    """At most `_MAX_ERRORS` of the sorted errors, evenly spaced."""
    rows = np.linspace(0, len(errors) - 1, min(_MAX_ERRORS, len(errors)))
    return errors[rows.round().astype(int)]


def _sprite(images: UInt8[np.ndarray, "n 28 28"]) -> str:
    """All images in rows of `_SPRITE_COLUMNS`, as one PNG."""
    rows = -(-len(images) // _SPRITE_COLUMNS)
    cells = np.zeros((rows * _SPRITE_COLUMNS, 28, 28), np.uint8)
    cells[: len(images)] = images
    sheet = cells.reshape(rows, _SPRITE_COLUMNS, 28, 28).swapaxes(1, 2).reshape(rows * 28, _SPRITE_COLUMNS * 28)
    content = io.BytesIO()
    Image.fromarray(sheet).save(content, format="PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def _base64(array: Float[np.ndarray, "..."]) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
