"""The explorer as one HTML file: markup, style, scripts and content, from arrays to text."""

import html
import json
import re
from importlib import resources
from typing import Any

import numpy as np

from ae_jax.data.datasets import Dataset, dataset_title, image_credit
from ae_jax.explorer.bundle import bundle
from ae_jax.explorer.content import EncodedSet, encode_test_set, page_content
from ae_jax.runs.trained_model import TrainedModel


def explorer_page(trained: TrainedModel, test_set: Dataset) -> str:
    """The explorer of a model, as HTML: a page on which a drawn digit becomes a latent code and back.

    Args:
      trained: the model, from `load_model` or `load_pretrained`.
      test_set: images u8[n, 28, 28, 1], n >= 2, with or without labels: the first 2,000 are shown on the map.

    Returns:
      The page, which needs no other file and no network.
    """
    encoded = encode_test_set(trained, test_set)
    credit = image_credit(test_set.name)
    values = {
        "title": html.escape(_title(trained, encoded)),
        "subtitle": f"{trained.model.latent_dim}-dimensional latent code, {trained.step:,} training steps",
        "credit": f"Test images: {credit}. " * bool(credit),
        "style": _read("style.css"),
        "content": _script_safe(page_content(trained, encoded)),
        "script": bundle("app.js", _read),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _read("page.html"))


def _title(trained: TrainedModel, encoded: EncodedSet) -> str:
    """The model, the dataset that it was trained with, and the error on the test images, named if they are others."""
    own, shown = trained.metadata["dataset_used"] or "unknown data", encoded.dataset.name
    images = "" if shown == own else f" on {dataset_title(shown)}"
    error = encoded.errors.mean(dtype=np.float64)
    return f"{trained.config.arch} autoencoder of {dataset_title(own)}: test MSE {error:.5f}{images}"


def _script_safe(content: dict[str, Any]) -> str:
    """JSON that is inert inside a `script` element, whatever its texts are."""
    return json.dumps(content).replace("<", "\\u003c")


def _read(name: str) -> str:
    return (resources.files("ae_jax.explorer") / name).read_text("utf-8")
