"""`ae-jax explore`: write an interactive page of a model, to draw a digit and explore the latent space.

The page is one HTML file: markup, style, scripts and content. It needs no network.
"""

import base64
import html
import io
import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Float, UInt8
from PIL import Image

from ae_jax.data.batching import num_examples, to_float
from ae_jax.data.datasets import Dataset, dataset_title, image_credit
from ae_jax.metrics.quality import plot_points, principal_axes, squared_error
from ae_jax.models.autoencoders import ConvPoolAutoencoder
from ae_jax.models.layers import Conv, ConvTranspose
from ae_jax.runs.trained import TrainedModel, latents, load_model
from ae_jax.system import check_output, write_output
from ae_jax.types import HostCodes, HostLabels, PathLike

_NUM_IMAGES = 2000  # on the map
_MAX_ERRORS = 10_000
_SPRITE_COLUMNS = 50
_LAYER_TYPES: dict[type[nn.Module], str] = {nn.Dense: "linear", Conv: "conv", ConvTranspose: "convTranspose"}
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const) (\w+))", re.MULTILINE)


def explore_run(run: str, out: str | None = None, dataset: str | None = None, **folders: PathLike | None) -> None:
    """Write the page and print its path; arguments as in `ae-jax explore --help`.

    By default the page is `explorer.html` in the run directory, where it is replaced.
    """
    check_output(out, "out", (".html",))
    trained = load_model(run)
    path = Path(out) if out else trained.run_dir / "explorer.html"
    page = explorer_page(trained, trained.load_test_set(dataset, **folders))
    content = page.encode(errors="backslashreplace")  # names of files may be no text
    write_output(path, content, replace=not out)
    print(f"{path}: open it in a browser ({len(content) / 2**20:.1f} MiB, needs no network)")


def explorer_page(trained: TrainedModel, test_set: Dataset) -> str:
    """The explorer of a model, as HTML: a page to draw a digit, see its latent code and its reconstruction.

    The test set has images u8[n, 28, 28, 1], n >= 2, with or without labels; the first 2,000 are shown on the map.
    """
    num_examples(test_set)  # labels and images of different lengths would be shown as pairs
    images = np.asarray(to_float(test_set.images))
    code = trained.encode(images)
    errors = squared_error(images, trained.decode(code))
    credit = image_credit(test_set.name)
    others = "" if test_set.name == trained.metadata["dataset_used"] else f" on {dataset_title(test_set.name)}"
    title = f"{trained.config.arch} autoencoder of {trained.dataset}: test MSE {errors.mean():.5f}{others}"
    values = {
        "title": html.escape(title),
        "subtitle": f"{trained.model.latent_dim}-dimensional latent code, {trained.step:,} training steps",
        "credit": f"Test images: {credit}. " * bool(credit),
        "style": _read("style.css"),
        "content": json.dumps(_page_content(trained, test_set, latents(code), errors)),  # without any user's text
        "script": bundle("app.js", _read),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _read("page.html"))


def bundle(entry: str, read: Callable[[str], str]) -> str:
    """Join the JavaScript module `entry` and all that it imports: a page opened as a file can import no modules.

    Each module gets a scope of its own, after the modules that it imports. `read` maps the name of a module to its
    text, where imports have the form `import { … } from "./name.js";`, and exports stand before a function or constant.
    """
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        text = read(name)
        for match in _IMPORT.finditer(text):
            if match[2] not in modules:
                add(match[2])
        exported = ", ".join(match[1] for match in _EXPORT.finditer(text))
        body = _EXPORT.sub("", _IMPORT.sub(r'const \1 = modules["\2"];', text))
        modules[name] = f'modules["{name}"] = (() => {{\n{body}return {{ {exported} }};\n}})();'

    add(entry)
    return "\n".join(["const modules = {};", *modules.values()])


def _page_content(
    trained: TrainedModel, test_set: Dataset, codes: HostCodes, errors: Float[np.ndarray, "n"]
) -> dict[str, Any]:
    """All that the page's script needs, as JSON types: `Content` in `app.js`; arrays are little-endian, in base64."""
    labels = None if test_set.labels is None else test_set.labels[:_NUM_IMAGES]
    return {
        **_describe_network(trained),
        "sprite": _sprite(test_set.images[:_NUM_IMAGES, ..., 0]),
        "spriteColumns": _SPRITE_COLUMNS,
        "numImages": min(_NUM_IMAGES, len(codes)),
        "labels": None if labels is None else _describe_labels(labels),
        "latents": _base64(codes[:_NUM_IMAGES]) if isinstance(trained.model, ConvPoolAutoencoder) else None,
        "map": _map(codes, test_set.labels),
        "sliders": _slider_ranges(codes),
        "errors": _base64(np.quantile(errors, np.linspace(0, 1, min(_MAX_ERRORS, len(errors))))),
    }


def _describe_network(trained: TrainedModel) -> dict[str, Any]:
    """The `model`, described as the JSDoc of `ModelDescription` in `model.js` says, and all its `weights`."""
    bound: Any = trained.model.bind({"params": trained.params})
    weights: list[np.ndarray] = []
    description = {
        "latentDim": trained.model.latent_dim,
        "activation": trained.model.activation,
        "output": trained.model.output,
        "pools": isinstance(trained.model, ConvPoolAutoencoder),
        "encoder": [_describe_layer(layer, weights) for layer in bound.encoder],
        "decoder": [_describe_layer(layer, weights) for layer in bound.decoder],
    }
    return {"model": description, "weights": _base64(np.concatenate(weights))}


def _describe_layer(layer: nn.Module, weights: list[np.ndarray]) -> dict[str, Any]:
    """Describe a layer and append its parameters to `weights`: kernels as height, width, inputs, outputs."""
    params = layer.variables["params"]
    kernel, bias = np.asarray(params["kernel"]), np.asarray(params["bias"])
    if isinstance(layer, ConvTranspose):
        kernel = kernel.swapaxes(2, 3)
    offset = sum(map(len, weights))
    weights += [kernel.ravel(), bias]
    return {
        "type": _LAYER_TYPES[type(layer)],
        "size": getattr(layer, "kernel_size", 1),
        "stride": getattr(layer, "stride", 1),
        "padding": getattr(layer, "padding", 0),
        "outputPadding": getattr(layer, "output_padding", 0),
        "inputs": kernel.shape[-2],
        "outputs": kernel.shape[-1],
        "kernel": offset,
        "bias": offset + kernel.size,
    }


def _describe_labels(labels: HostLabels) -> dict[str, Any]:
    """The distinct labels, their colours, and for each image the index of its label."""
    from ae_jax.figures import label_colors  # here: importing matplotlib takes a second

    distinct, indices = np.unique(labels, return_inverse=True)
    return {"names": [*map(str, distinct)], "colors": label_colors(len(distinct)), "indices": indices.tolist()}


def _map(codes: HostCodes, labels: HostLabels | None) -> dict[str, Any]:
    """The data points of the shown images, and the plane that other codes are projected to."""
    points, names = plot_points(codes, labels)
    plane = None
    if codes.shape[1] > 3:
        axes = principal_axes(codes)[1][:, :2]
        plane = {"mean": _base64(codes.mean(0, dtype=np.float64)), "axes": _base64(axes.T)}
    return {"points": _base64(points[:_NUM_IMAGES]), "axes": names, "plane": plane}


def _slider_ranges(codes: HostCodes) -> dict[str, str]:
    """Start, least and largest value of each slider: the mean code, and three standard deviations to either side."""
    mean, deviations = codes.mean(0, dtype=np.float64), codes.std(0, dtype=np.float64)
    extent = 3 * np.maximum(deviations, 1e-3)
    return {"mean": _base64(mean), "min": _base64(mean - extent), "max": _base64(mean + extent)}


def _sprite(images: UInt8[np.ndarray, "n 28 28"]) -> str:
    """All images in rows of `_SPRITE_COLUMNS`, as one PNG."""
    cells = np.pad(images, ((0, -len(images) % _SPRITE_COLUMNS), (0, 0), (0, 0)))
    sheet = cells.reshape(-1, _SPRITE_COLUMNS, 28, 28).swapaxes(1, 2).reshape(-1, _SPRITE_COLUMNS * 28)
    content = io.BytesIO()
    Image.fromarray(sheet).save(content, format="PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def _base64(array: Float[np.ndarray, "..."]) -> str:
    """The array as little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def _read(name: str) -> str:
    return (resources.files("ae_jax.explorer") / name).read_text("utf-8")
