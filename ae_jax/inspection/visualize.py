"""`ae-jax visualize`: draw the latent codes, decoded codes and filters of a trained model."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from ae_jax.data.batching import normalise_on_host
from ae_jax.data.datasets import Dataset, dataset_title
from ae_jax.errors import InputError
from ae_jax.figures import figure_bytes
from ae_jax.inspection import decoder_figures
from ae_jax.inspection.config import VisualizeConfig
from ae_jax.inspection.latent_figures import code_images_figure, scatter_figure
from ae_jax.metrics.image_quality import squared_error
from ae_jax.metrics.pca import principal_axes
from ae_jax.models.autoencoders import PooledCode
from ae_jax.runs.inference import latents, with_latents
from ae_jax.runs.load import load_model
from ae_jax.runs.trained_model import TrainedModel
from ae_jax.system.outputs import check_output, check_output_dir, make_output_dir, replace_output, write_output
from ae_jax.types import HostImages, HostLabels

_NUM_POINTS = 4000  # in the scatter plot
_MAX_LABELS, _IMAGES_PER_LABEL = 10, 5  # in the figure of codes as heat maps
_NUM_INTERPOLATIONS, _INTERPOLATION_LENGTH = 8, 11
_MAX_TRAVERSALS = 64  # latent dimensions
_TRAVERSAL_STEPS = np.linspace(-3, 3, 7)  # standard deviations
_GRID_SIZE, _GRID_DEVIATIONS = 20, 2.0
_NUM_EXTREMES = 10


def visualize_run(config: VisualizeConfig) -> None:
    """Draw every figure and print its path.

    Raises:
      InputError: the run or the data cannot be read, or `config.out` already has a figure.
      RunError: a figure cannot be written.
    """
    trained = load_model(config.run)
    check_output_dir(Path(config.out) if config.out else trained.figure_path("").parent)
    if config.out and os.path.isdir(config.out):
        for name in _FIGURES:
            check_output(Path(config.out) / f"{name}.png", "--out")
    folders = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
    test_set = trained.open_splits(config.dataset, **folders)[1].load()
    if len(test_set.images) < 2:
        raise InputError(f"{test_set.name} has only one test image; give a dataset with at least two.")
    if config.out:
        make_output_dir(Path(config.out))
    for name, figure in figures(trained, test_set):
        path = Path(config.out) / f"{name}.png" if config.out else trained.figure_path(name)
        write = write_output if config.out else replace_output
        write(path, figure_bytes(figure, ".png"))
        print(path)


@dataclasses.dataclass(frozen=True)
class _EncodedSet:
    """A test set and its latent codes."""

    trained: TrainedModel
    dataset: str
    images: HostImages
    labels: HostLabels | None
    code: Any  # output of the model's `encode`

    @property
    def latents(self) -> Float[np.ndarray, "n d"]:
        return latents(self.code)

    def decode(self, new: Float[np.ndarray, "m d"], image: int) -> Float[np.ndarray, "m 28 28"]:
        """Decode new latent codes; a model with pooling uses the positions of the test image with this index."""
        code = jax.tree.map(lambda array: array[image : image + 1], self.code)
        return self.trained.decode(with_latents(code, new.astype(np.float32)))[..., 0]

    def title(self, text: str, positions_from: str = "") -> str:
        """The run, the text, the dataset if it is not the run's own, and the source of pooling positions."""
        note = f", positions of {positions_from}" if positions_from and isinstance(self.code, PooledCode) else ""
        is_own = self.dataset == self.trained.metadata["dataset_used"]
        return f"{self.trained.title}: {text}{'' if is_own else f', images of {dataset_title(self.dataset)}'}{note}"


def figures(trained: TrainedModel, test_set: Dataset) -> Iterator[tuple[str, Figure]]:
    """Yield the file name, without suffix, and the figure."""
    code = trained.encode(test_set.images)
    encoded = _EncodedSet(trained, test_set.name, test_set.images, test_set.labels, code)
    for name, draw in _FIGURES.items():
        if figure := draw(encoded):
            yield name, figure


def _scatter(encoded: _EncodedSet) -> Figure:
    labels = None if encoded.labels is None else encoded.labels[:_NUM_POINTS]
    return scatter_figure(encoded.latents[:_NUM_POINTS], labels, encoded.title("latent codes of test images"))


def _code_images(encoded: _EncodedSet) -> Figure:
    rows, names = _examples(encoded, _IMAGES_PER_LABEL)
    images = encoded.images[rows][..., 0] / 255
    return code_images_figure(images, encoded.latents[rows], names, encoded.title("test images and their latent codes"))


def _interpolations(encoded: _EncodedSet) -> Figure:
    rows, names = _examples(encoded, 1)
    pairs = list(itertools.pairwise(rows[:, 0].tolist()))[:_NUM_INTERPOLATIONS] or [(0, len(encoded.images) - 1)]
    fractions = np.linspace(0, 1, _INTERPOLATION_LENGTH)[:, None]
    z = encoded.latents
    recons = np.stack([encoded.decode((1 - fractions) * z[a] + fractions * z[b], a) for a, b in pairs])
    titles = [f"{a} → {b}" for a, b in itertools.pairwise(names)][:_NUM_INTERPOLATIONS] or [""]
    title = encoded.title("latent interpolations", "the left image")
    return decoder_figures.interpolations_figure(recons, titles, title)


def _traversals(encoded: _EncodedSet) -> Figure:
    mean, deviations = encoded.latents.mean(0), encoded.latents.std(0)
    dims = min(len(mean), _MAX_TRAVERSALS)
    steps = _TRAVERSAL_STEPS[None, :, None] * np.eye(len(mean))[:dims, None] * deviations
    recons = encoded.decode((mean + steps).reshape(-1, len(mean)), _nearest_to_mean(encoded))
    limit = "" if dims == len(mean) else f", first {dims} of {len(mean)} dimensions"
    title = encoded.title(f"latent traversals{limit}", "one image")
    return decoder_figures.traversals_figure(recons.reshape(dims, -1, 28, 28), _TRAVERSAL_STEPS, title)


def _latent_grid(encoded: _EncodedSet) -> Figure | None:
    if encoded.latents.shape[1] < 2:
        return None
    deviations, axes, _ = principal_axes(encoded.latents)
    extents = _GRID_DEVIATIONS * np.maximum(deviations[:2], 1e-6)
    ticks = np.linspace(-1, 1, _GRID_SIZE)
    x, y = np.meshgrid(ticks * extents[0], -ticks * extents[1])  # the first row is the top
    points = np.stack([x, y], axis=-1).reshape(-1, 2) @ axes[:, :2].T + encoded.latents.mean(0)
    recons = encoded.decode(points, _nearest_to_mean(encoded)).reshape(_GRID_SIZE, _GRID_SIZE, 28, 28)
    title = encoded.title("latent grid", "one image")
    return decoder_figures.latent_grid_figure(recons, (float(extents[0]), float(extents[1])), title)


def _extremes(encoded: _EncodedSet) -> Figure:
    images = normalise_on_host(encoded.images)
    recons = encoded.trained.decode(encoded.code)
    errors = squared_error(images, recons)
    order, n = np.argsort(errors, kind="stable"), min(_NUM_EXTREMES, len(errors))
    rows = np.stack([order[:n], order[::-1][:n]])
    pairs = np.stack([images[rows], recons[rows]], axis=1)[..., 0]
    return decoder_figures.extremes_figure(pairs, errors[rows], encoded.title("best and worst reconstructions"))


def _filters(encoded: _EncodedSet) -> Figure:
    kernel = np.asarray(encoded.trained.params["encoder_0"]["kernel"])
    kernels = kernel.T.reshape(-1, 28, 28) if kernel.ndim == 2 else kernel[:, :, 0].transpose(2, 0, 1)
    return decoder_figures.filters_figure(kernels, encoded.title("first-layer filters"))


def _examples(encoded: _EncodedSet, n: int) -> tuple[Int[np.ndarray, "rows n"], list[str]]:
    """Indices of the first `n` test images per label, and the labels' names; without labels, of consecutive images."""
    if encoded.labels is None:
        rows = np.arange(min(_MAX_LABELS, max(1, len(encoded.images) // n)) * n) % len(encoded.images)
        return rows.reshape(-1, n), [str(row + 1) for row in range(len(rows) // n)]
    classes = np.unique(encoded.labels)[:_MAX_LABELS]
    rows = np.stack([np.resize(np.flatnonzero(encoded.labels == label), n) for label in classes])
    return rows, [str(label) for label in classes]


def _nearest_to_mean(encoded: _EncodedSet) -> int:
    """The index of the test image whose latent code is nearest to the mean code."""
    return int(np.square(encoded.latents - encoded.latents.mean(0)).sum(axis=1).argmin())


_FIGURES: dict[str, Callable[[_EncodedSet], Figure | None]] = {  # by file name
    "codes": _scatter,
    "code_images": _code_images,
    "walks": _interpolations,
    "latent_axes": _traversals,
    "map": _latent_grid,
    "extremes": _extremes,
    "filters": _filters,
}
