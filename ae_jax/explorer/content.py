"""Content of the explorer: the model, test images, their codes on a map, and their errors, as JSON types."""

import base64
import io
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from ae_jax.data.batching import normalise_on_host
from ae_jax.data.datasets import Dataset
from ae_jax.errors import InputError
from ae_jax.explorer.network import describe_network
from ae_jax.metrics.image_quality import squared_error
from ae_jax.metrics.pca import principal_axes
from ae_jax.runs.inference import latents
from ae_jax.runs.trained_model import TrainedModel
from ae_jax.types import HostCodes

Errors: TypeAlias = Float[np.ndarray, "n"]
ShownCodes: TypeAlias = Float[np.ndarray, "shown d"]
ShownLabels: TypeAlias = Int[np.ndarray, "shown"]

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

    Raises:
      InputError: the codes are too large for float32 arithmetic.
    """
    model, weights = describe_network(trained.model, trained.params)
    num_shown = min(_NUM_IMAGES, len(encoded.latents))
    shown, all_labels = encoded.latents[:num_shown], encoded.dataset.labels
    labels = None if all_labels is None else all_labels[:num_shown]
    return {
        "model": model,
        "weights": _base64(weights),
        "sprite": _sprite(encoded.dataset.images[:num_shown, ..., 0]),
        "spriteColumns": _SPRITE_COLUMNS,
        "numImages": num_shown,
        "labels": None if labels is None else _describe_labels(labels),
        "latents": _base64(shown) if model["pools"] else None,
        "map": _map(encoded.latents, shown, labels),
        "sliders": _slider_ranges(encoded.latents),
        "errors": _base64(_thin_out(np.sort(encoded.errors))),
    }


def _describe_labels(labels: ShownLabels) -> dict[str, Any]:
    """The distinct labels, their colours, and for each image the index of its label."""
    from ae_jax.figures import label_colors  # here: it imports matplotlib

    distinct, indices = np.unique(labels, return_inverse=True)
    return {
        "names": [str(label) for label in distinct],
        "colors": label_colors(len(distinct)),
        "indices": indices.tolist(),
    }


def _map(codes: HostCodes, shown: ShownCodes, labels: ShownLabels | None) -> dict[str, Any]:
    """The points of `shown`, the first of all `codes`, and how other codes are projected."""
    dims = codes.shape[1]
    if dims == 1:
        return _rows_map(shown, labels)
    if dims <= 3:
        axes = [f"latent dimension {i + 1}" for i in range(dims)]
        return {"points": _base64(shown), "axes": axes, "isJittered": False, "plane": None}
    return _plane_map(codes, shown)


def _rows_map(shown: ShownCodes, labels: ShownLabels | None) -> dict[str, Any]:
    """One latent dimension, in a row per label, with jitter."""
    rows = np.zeros(len(shown)) if labels is None else np.unique(labels, return_inverse=True)[1]
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(shown))
    axes = ["latent dimension 1", "jitter" if labels is None else "label, with jitter"]
    points = np.stack([shown[:, 0], rows + jitter], axis=1)
    return {"points": _base64(points), "axes": axes, "isJittered": True, "plane": None}


def _plane_map(codes: HostCodes, shown: ShownCodes) -> dict[str, Any]:
    """The plane of the first two principal axes."""
    mean = codes.mean(0, dtype=np.float64)
    _, axes, ratios = principal_axes(codes)
    plane = axes[:, :2]
    return {
        "points": _base64((shown - mean) @ plane),
        "axes": [f"principal component {i + 1} ({ratios[i]:.0%} of variance)" for i in range(2)],
        "isJittered": False,
        "plane": {"mean": _base64(mean), "axes": _base64(plane.T)},
    }


def _slider_ranges(codes: HostCodes) -> dict[str, str]:
    """Start, least and largest value of each slider: the mean code, and three standard deviations to either side."""
    mean, deviations = codes.mean(0, dtype=np.float64), codes.std(0, dtype=np.float64)
    extent = _SLIDER_DEVIATIONS * np.maximum(deviations, 1e-3)
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
    """The array as float32; raises `InputError` for what float32 cannot hold, which follows from huge latent codes."""
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, "<f4")
    if not np.isfinite(array).all():
        raise InputError("the latent codes of the test images are too large to be drawn; train with a lower rate.")
    return base64.b64encode(array.tobytes()).decode()
