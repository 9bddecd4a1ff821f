"""`ae-jax visualize`: draw the latent codes, decoded codes and filters of a trained model."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from ae_jax.data.batching import to_float
from ae_jax.data.datasets import Dataset, dataset_title
from ae_jax.figures import DPI, default_style, figure_bytes, show_grid
from ae_jax.inspection.figures import code_images_figure, scatter_figure
from ae_jax.metrics.quality import principal_axes, squared_error
from ae_jax.models.autoencoders import PooledCode
from ae_jax.runs.trained import TrainedModel, latents, load_model
from ae_jax.system import check_output, write_output
from ae_jax.types import HostCodes, PathLike

_NUM_POINTS = 4000  # in the scatter plot
_MAX_LABELS, _IMAGES_PER_LABEL = 10, 5  # in the figure of codes as heat maps
_NUM_INTERPOLATIONS, _INTERPOLATION_LENGTH = 8, 11
_MAX_TRAVERSALS = 8
_TRAVERSAL_STEPS = np.linspace(-3, 3, 7)  # standard deviations
_GRID_SIZE, _GRID_DEVIATIONS = 20, 2.0


def visualize_run(run: str, out: str | None = None, dataset: str | None = None, **folders: PathLike | None) -> None:
    """Draw every figure and print its path; arguments as in `ae-jax visualize --help`.

    By default figures are written into the run's `figures`, where they are replaced.
    """
    if out:
        for name in _FIGURES:
            check_output(Path(out, f"{name}.png"), "out")
    trained = load_model(run)
    for name, figure in draw_figures(trained, trained.load_test_set(dataset, **folders)):
        path = Path(out, f"{name}.png") if out else trained.figure_path(name)
        write_output(path, figure_bytes(figure, ".png"), replace=not out)
        print(path)


class _EncodedSet(NamedTuple):
    """A test set and its latent codes."""

    trained: TrainedModel
    test_set: Dataset
    code: Any  # output of the model's `encode`
    latents: HostCodes  # of `code`

    def decode(self, new: HostCodes, image: int) -> Float[np.ndarray, "n 28 28"]:
        """Decode latent codes `new`; a model with pooling uses the positions of the test image with this index."""
        code: Any = new.astype(np.float32)
        if isinstance(self.code, PooledCode):
            rows = np.full(len(new), image)
            code = PooledCode(code, jax.tree.map(lambda array: array[rows], self.code.positions))
        return self.trained.decode(code)[..., 0]

    def title(self, text: str, positions_from: str = "") -> str:
        """The run, the text, the dataset if it is not the run's own, and the source of pooling positions."""
        name, own = self.test_set.name, self.trained.metadata["dataset_used"]
        dataset = "" if name == own else f", images of {dataset_title(name)}"
        note = f", positions of {positions_from}" if positions_from and isinstance(self.code, PooledCode) else ""
        return f"{self.trained.title}: {text}{dataset}{note}"


def draw_figures(trained: TrainedModel, test_set: Dataset) -> Iterator[tuple[str, Figure]]:
    """Yield the name of the file, without suffix, and the figure."""
    code = trained.encode(test_set.images)
    encoded = _EncodedSet(trained, test_set, code, latents(code))
    for name, draw in _FIGURES.items():
        if figure := default_style(draw)(encoded):
            yield name, figure


def _scatter(encoded: _EncodedSet) -> Figure:
    labels, shown = encoded.test_set.labels, slice(_NUM_POINTS)
    title = encoded.title("latent codes of test images")
    return scatter_figure(encoded.latents[shown], None if labels is None else labels[shown], title)


def _code_images(encoded: _EncodedSet) -> Figure:
    rows, names = _examples(encoded, _IMAGES_PER_LABEL)
    images = encoded.test_set.images[rows][..., 0] / 255
    title = encoded.title("test images and their latent codes")
    return code_images_figure(images, encoded.latents[rows], names, title)


def _interpolations(encoded: _EncodedSet) -> Figure:
    """One row per linear interpolation between the latent codes of two images."""
    rows, names = _examples(encoded, 1)
    pairs = list(itertools.pairwise(rows[:, 0].tolist()))[:_NUM_INTERPOLATIONS] or [(0, len(encoded.latents) - 1)]
    fractions = np.linspace(0, 1, _INTERPOLATION_LENGTH)[:, None]
    z = encoded.latents
    recons = np.stack([encoded.decode((1 - fractions) * z[a] + fractions * z[b], a) for a, b in pairs])
    row_names = [f"{a} → {b}" for a, b in itertools.pairwise(names)][:_NUM_INTERPOLATIONS] or [""]
    figure = Figure(figsize=(0.62 * len(fractions) + 0.9, 0.62 * len(pairs) + 0.9), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    show_grid(axes, recons, row_names, [f"{fraction:g}" for fraction in fractions[:, 0].round(3)])
    axes.set(title=encoded.title("latent interpolations", "the left image"), xlabel="interpolation (fraction)")
    return figure


def _traversals(encoded: _EncodedSet) -> Figure:
    """Reconstructions around the code of a test image, one row per direction: the eight of largest effect.

    Directions are the latent dimensions, or of more than eight their principal components.
    """
    image = _nearest_to_mean(encoded)
    z = encoded.latents[image]
    directions, name = np.diag(encoded.latents.std(0)), "latent dimension"
    if len(z) > _MAX_TRAVERSALS:
        deviations, components, _ = principal_axes(encoded.latents)
        directions, name = (components * deviations).T, "principal component"
    effects = np.square(encoded.decode(z + directions, image) - encoded.decode(z - directions, image)).sum((1, 2))
    rows = np.sort(effects.argsort()[::-1][:_MAX_TRAVERSALS])
    varied = z + _TRAVERSAL_STEPS[:, None] * directions[rows, None]
    recons = encoded.decode(varied.reshape(-1, len(z)), image).reshape(len(rows), -1, 28, 28)
    figure = Figure(figsize=(0.8 * len(_TRAVERSAL_STEPS) + 1, 0.8 * len(rows) + 1.2), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    show_grid(axes, recons, [str(row + 1) for row in rows], [f"{step:g}" for step in _TRAVERSAL_STEPS])
    figure.suptitle(encoded.title("latent traversals", "this image"))
    axes.set(xlabel=f"standard deviations from the code of test image {image + 1}", ylabel=name)
    return figure


def _latent_grid(encoded: _EncodedSet) -> Figure | None:
    """A decoded grid around the mean code, along the first two principal components."""
    if encoded.latents.shape[1] < 2:
        return None
    deviations, directions, _ = principal_axes(encoded.latents)
    right, top = (_GRID_DEVIATIONS * np.maximum(deviations[:2], 1e-6)).tolist()
    ticks = np.linspace(-1, 1, _GRID_SIZE)
    x, y = np.meshgrid(ticks * right, -ticks * top)  # the first row is the top
    points = np.stack([x, y], axis=-1).reshape(-1, 2) @ directions[:, :2].T + encoded.latents.mean(0)
    recons = encoded.decode(points, _nearest_to_mean(encoded)).reshape(_GRID_SIZE, _GRID_SIZE, 28, 28)
    figure = Figure(figsize=(7, 7), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    show_grid(axes, recons, gap=1, extent=(-right, right, -top, top), aspect=right / top)
    axes.set(xticks=np.linspace(-right, right, 5), yticks=np.linspace(-top, top, 5))
    axes.tick_params(labelsize="small")
    axes.xaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_major_formatter("{x:.3g}")
    title = encoded.title("latent grid", "one image")
    axes.set(title=title, xlabel="principal component 1", ylabel="principal component 2")
    return figure


def _extremes(encoded: _EncodedSet) -> Figure:
    """The best and the worst reconstruction per label, or without labels of all, below their originals."""
    images, recons = np.asarray(to_float(encoded.test_set.images)), encoded.trained.decode(encoded.code)
    errors, labels = squared_error(images, recons), encoded.test_set.labels
    order = np.argsort(errors, kind="stable")
    n, names, best, worst = min(_MAX_LABELS, len(errors)), [""] * _MAX_LABELS, order, order[::-1]
    if labels is not None:
        classes = np.unique(labels)[:_MAX_LABELS]
        n, names = len(classes), [f"{label}: " for label in classes]
        best, worst = (np.array([rows[labels[rows] == label][0] for label in classes]) for rows in (best, worst))
    figure = Figure(figsize=(0.95 * n + 1, 5), dpi=DPI, layout="constrained")
    figure.suptitle(encoded.title("best and worst reconstructions"))
    for axes, name, rows in zip(figure.subplots(2), ("best", "worst"), (best[:n], worst[:n]), strict=True):
        pair = np.stack([images[rows], recons[rows]])[..., 0]
        show_grid(axes, pair, ["original", name], [f"{names[i]}{errors[row]:.4f}" for i, row in enumerate(rows)])
        axes.tick_params(labelsize="small")
        axes.set_xlabel("mean squared error per pixel", fontsize="small")
    return figure


def _filters(encoded: _EncodedSet) -> Figure:
    """The kernels of the first layer, each divided by its largest absolute weight."""
    kernel = np.asarray(encoded.trained.params["encoder_0"]["kernel"])
    kernels = kernel.T.reshape(-1, 28, 28) if kernel.ndim == 2 else kernel[:, :, 0].transpose(2, 0, 1)
    n, h, w = kernels.shape
    columns = 16 if n > 32 else 8
    scaled = kernels / np.maximum(np.abs(kernels).max(axis=(1, 2), keepdims=True), 1e-12)
    padded = np.pad(scaled, ((0, -n % columns), (0, 0), (0, 0)), constant_values=np.nan).reshape(-1, columns, h, w)
    figure = Figure(figsize=(0.55 * columns + 1, 0.55 * len(padded) + 0.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    shown = show_grid(axes, padded, gap=max(1, h // 8), cmap="RdBu_r", vmin=-1, vmax=1)
    figure.colorbar(shown, ax=axes, shrink=0.7, pad=0.02, ticks=[-1, 0, 1], label="relative weight")
    axes.set_title(encoded.title("first-layer filters"))
    return figure


def _examples(encoded: _EncodedSet, n: int) -> tuple[Int[np.ndarray, "rows n"], list[str]]:
    """Indices of the first `n` test images per label, and the labels' names; without labels, of consecutive images."""
    labels, num_images = encoded.test_set.labels, len(encoded.test_set.images)
    if labels is None:
        rows = np.arange(min(_MAX_LABELS, max(1, num_images // n)) * n) % num_images
        return rows.reshape(-1, n), [str(row + 1) for row in range(len(rows) // n)]
    classes = np.unique(labels)[:_MAX_LABELS]
    return np.stack([np.resize(np.flatnonzero(labels == label), n) for label in classes]), list(map(str, classes))


def _nearest_to_mean(encoded: _EncodedSet) -> int:
    """The index of the test image whose latent code is nearest to the mean code."""
    return int(np.square(encoded.latents - encoded.latents.mean(0)).sum(axis=1).argmin())


_FIGURES: dict[str, Callable[[_EncodedSet], Figure | None]] = {  # by file name
    "codes": _scatter,
    "code_images": _code_images,
    "interpolations": _interpolations,
    "traversals": _traversals,
    "latent_grid": _latent_grid,
    "extremes": _extremes,
    "filters": _filters,
}
