"""`ae-jax explore`: write an interactive page of a model, to draw a digit and explore the latent space.

The page is one HTML file: markup, style, scripts and content. It needs no network.
"""

import base64
import hashlib
import html
import io
import json
import re
import webbrowser
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Float, UInt8
from PIL import Image

from ae_jax.data.batching import num_examples, to_float
from ae_jax.data.datasets import Dataset, dataset_title, image_credit, is_array_file
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


def explore_run(
    run: str, out: str | None = None, open: bool = False, dataset: str | None = None, **folders: PathLike | None
) -> None:
    """Write the page and print its link; arguments as in `ae-jax explore --help`.

    By default the page is `explorer.html` in the run directory, where it is replaced.
    """
    check_output(out, "out", (".html",))
    trained = load_model(run)
    path = Path(out) if out else trained.run_dir / "explorer.html"
    page = explorer_page(trained, trained.load_test_set(dataset, **folders))
    content = page.encode(errors="backslashreplace")  # names of files may be no text
    write_output(path, content, replace=not out)
    link = path.resolve().as_uri()
    print(f"Page: {link} ({len(content) / 2**20:.1f} MiB, needs no network)")
    if open:
        webbrowser.open(link)


def explorer_page(trained: TrainedModel, test_set: Dataset) -> str:
    """The explorer of a model, as HTML: a page to draw a digit, see its latent code and its reconstruction.

    The test set has images u8[n, 28, 28, 1], n >= 2, with or without labels; the first 2,000 are shown on the map.
    """
    num_examples(test_set)  # labels and images of different lengths would be shown as pairs
    images = np.asarray(to_float(test_set.images))
    code = trained.encode(images)
    errors = squared_error(images, trained.decode(code))
    content = _page_content(trained, test_set, latents(code), errors)
    values = {
        **{name: html.escape(text) for name, text in _words(trained, test_set, content["map"], errors.mean()).items()},
        "style": _read("style.css"),
        "content": json.dumps(content),  # without any user's text
        "script": bundle("app.js", _read),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _read("page.html"))


def _words(trained: TrainedModel, test_set: Dataset, plot: Mapping[str, Any], mse: float) -> dict[str, str]:
    """Texts for the placeholders in `page.html`."""
    dim, num_axes = trained.model.latent_dim, len(plot["axes"])
    others = "" if test_set.name == trained.metadata["dataset_used"] else f" on {dataset_title(test_set.name)}"
    labels = "It was never shown the labels that colour the map, and yet images with the same label lie close together."
    share = round(100 * plot["share"])
    shadow = (
        f"It is the flat shadow of {dim} dimensions and shows {share} % of their variance: neighbours "
        f"here need not be neighbours in the code. The nearest codes above are neighbours in all {dim} dimensions."
    )
    positions = (
        "This network also passes on where each maximum of its pooling was: a code that comes from no image borrows "
        "these positions from the nearest test image."
    )
    credit = image_credit(test_set.name)
    return {
        "title": f"{trained.config.arch} autoencoder of {trained.dataset}: test MSE {mse:.5f}{others}",
        "credit": f"Test images: {credit}. " * bool(credit),
        "invitation": "Draw a digit." if _are_digits(test_set) else "Choose an image, or draw one.",
        "dim": str(dim),
        "numbers": "1 number" if dim == 1 else f"{dim} numbers",
        "them": "it" if dim == 1 else "them",
        "count": f"{min(_NUM_IMAGES, num_examples(test_set)):,}",
        "axes": "Drag to turn it. " if num_axes == 3 else f"Across: {plot['axes'][0]}; up: {plot['axes'][1]}. ",
        "shadow": shadow if plot["plane"] else "Here the map is the code itself: nothing is left out.",
        "positions": positions if isinstance(trained.model, ConvPoolAutoencoder) else "",
        "steps": f"{trained.step:,}",
        "batchSize": str(trained.config.batch_size),
        "dataset": trained.dataset,
        "mse": f"{mse:.4f}",
        "labels": "" if test_set.labels is None else labels,
    }


def _are_digits(test_set: Dataset) -> bool:
    name = test_set.name
    return name.startswith(("mnist", "glyphs", "emnist/digits", "emnist/mnist")) and not is_array_file(name)


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
    network, sprite = _describe_network(trained), _sprite(test_set.images[:_NUM_IMAGES, ..., 0])
    return {
        **network,
        "id": hashlib.sha256((network["weights"] + sprite).encode()).hexdigest()[:8],
        "areDigits": _are_digits(test_set),
        "sprite": sprite,
        "spriteColumns": _SPRITE_COLUMNS,
        "numImages": min(_NUM_IMAGES, len(codes)),
        "labels": None if labels is None else _describe_labels(labels),
        "latents": _base64(codes[:_NUM_IMAGES]),
        "map": _map(codes, test_set.labels),
        "ranges": _ranges(codes),
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
    plane, share = None, 1.0
    if codes.shape[1] > 3:
        _, components, ratios = principal_axes(codes)
        axes, share = components[:, :2], float(ratios[:2].sum())
        plane = {"mean": _base64(codes.mean(0, dtype=np.float64)), "axes": _base64(axes.T)}
    return {"points": _base64(points[:_NUM_IMAGES]), "axes": names, "plane": plane, "share": share}


def _ranges(codes: HostCodes) -> dict[str, str]:
    """The mean code, and the ends of each bar: three standard deviations to either side."""
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
