"""`scripts/visualize.py`: pictures of what a trained model has learned."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from ae_jax.data.batching import normalise_on_host
from ae_jax.data.datasets import Dataset, load_dataset
from ae_jax.errors import InputError
from ae_jax.figures import figure_bytes
from ae_jax.inspection.config import VisualizeConfig
from ae_jax.inspection.decoder_figures import axes_figure, extremes_figure, filters_figure, map_figure, walks_figure
from ae_jax.inspection.inference import decode, encode, latents, with_latents
from ae_jax.inspection.latent_figures import code_images_figure, principal_axes, scatter_figure
from ae_jax.metrics.image_quality import squared_error
from ae_jax.models.autoencoders import PooledCode
from ae_jax.runs.load import TrainedModel, load_model
from ae_jax.system.outputs import check_folder, write_output
from ae_jax.types import HostImages, HostLabels

_NUM_POINTS = 4000  # of a scatter
_NUM_EXAMPLES = 5  # of each label, beside their codes
_MOST_LABELS = 10  # with rows of their own
_NUM_WALKS, _WALK_LENGTH = 8, 11
_MOST_AXES = 64  # with rows of their own
_AXIS_STEPS = np.linspace(-3, 3, 7)  # standard deviations
_MAP_SIZE, _MAP_DEVIATIONS = 20, 2.0
_NUM_EXTREMES = 10


def visualize_run(config: VisualizeConfig) -> None:
    """Draw every picture, and say where each is.

    Raises:
      InputError: the run or the data cannot be read.
      RunError: a picture cannot be written.
    """
    trained = load_model(config.run)
    check_folder(Path(config.out) if config.out else trained.figure_path("").parent)
    folders = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
    name = trained.find_dataset(config.dataset, **folders)
    test_set = load_dataset(name, "test", **folders)
    if len(test_set.images) < 2:
        raise InputError(f"{name} has one test image; pictures of codes need at least two.")
    for name, figure in figures(trained, test_set):
        path = Path(config.out) / f"{name}.png" if config.out else trained.figure_path(name)
        write_output(path, figure_bytes(figure, ".png"))
        print(path)


@dataclasses.dataclass(frozen=True)
class _Coded:
    """A test set and its codes."""

    trained: TrainedModel
    images: HostImages
    labels: HostLabels | None
    code: Any  # as the model's `encode` gives it

    @property
    def numbers(self) -> Float[np.ndarray, "n d"]:
        return latents(self.code)

    def decode(self, numbers: Float[np.ndarray, "m d"], image: int) -> Float[np.ndarray, "m 28 28"]:
        """What codes of these numbers show; positions, where the model has them, are those of an image."""
        code = with_latents(self.code_of(image), numbers.astype(np.float32))
        return decode(self.trained, code)[..., 0]

    def code_of(self, image: int) -> Any:
        return jax.tree.map(lambda array: array[image : image + 1], self.code)

    def title(self, what: str, positions: str = "") -> str:
        """What a picture shows, and of which run."""
        added = f", positions {positions}" if positions and isinstance(self.code, PooledCode) else ""
        return f"{self.trained.title}: {what}{added}"


def figures(trained: TrainedModel, test_set: Dataset) -> Iterator[tuple[str, Figure]]:
    """Each picture with its name."""
    coded = _Coded(trained, test_set.images, test_set.labels, encode(trained, test_set.images))
    for draw in (_codes, _code_images, _walks, _latent_axes, _map, _extremes, _filters):
        if figure := draw(coded):
            yield draw.__name__.removeprefix("_"), figure


def _codes(coded: _Coded) -> Figure:
    shown = slice(_NUM_POINTS)
    labels = None if coded.labels is None else coded.labels[shown]
    return scatter_figure(coded.numbers[shown], labels, coded.title("codes of test images"))


def _code_images(coded: _Coded) -> Figure:
    rows, names = _examples(coded, _NUM_EXAMPLES)
    images = coded.images[rows][..., 0] / 255
    return code_images_figure(images, coded.numbers[rows], names, coded.title("test images and their codes"))


def _walks(coded: _Coded) -> Figure:
    rows, names = _examples(coded, 1)
    ends = rows[:, 0].tolist()
    pairs = list(itertools.pairwise(ends))[:_NUM_WALKS] or [(0, len(coded.images) - 1)]
    shares = np.linspace(0, 1, _WALK_LENGTH)[:, None]
    walks = [coded.decode((1 - shares) * coded.numbers[a] + shares * coded.numbers[b], a) for a, b in pairs]
    titles = [f"{a} → {b}" for a, b in itertools.pairwise(names)][:_NUM_WALKS] or [""]
    return walks_figure(np.stack(walks), titles, coded.title("straight from code to code", "of the left"))


def _latent_axes(coded: _Coded) -> Figure:
    mean, deviations = coded.numbers.mean(0), coded.numbers.std(0)
    chosen = np.arange(min(len(mean), _MOST_AXES))
    steps = _AXIS_STEPS[None, :, None] * np.eye(len(mean))[chosen][:, None] * deviations
    recons = coded.decode((mean + steps).reshape(-1, len(mean)), _nearest_to_mean(coded))
    which = "each number of the code" if len(chosen) == len(mean) else f"the first {len(chosen)} of {len(mean)} numbers"
    title = coded.title(f"{which} changed alone", "of one digit")
    return axes_figure(recons.reshape(len(chosen), -1, 28, 28), _AXIS_STEPS, title)


def _map(coded: _Coded) -> Figure | None:
    if coded.numbers.shape[1] < 2:
        return None
    deviations, axes, _ = principal_axes(coded.numbers)
    extents = _MAP_DEVIATIONS * np.maximum(deviations[:2], 1e-6)
    ticks = np.linspace(-1, 1, _MAP_SIZE)
    across, up = np.meshgrid(ticks * extents[0], -ticks * extents[1])  # the first row is the top
    points = np.stack([across, up], axis=-1).reshape(-1, 2) @ axes[:, :2].T + coded.numbers.mean(0)
    recons = coded.decode(points, _nearest_to_mean(coded)).reshape(_MAP_SIZE, _MAP_SIZE, 28, 28)
    title = coded.title("decoded from a plane of codes", "of one digit")
    return map_figure(recons, (float(extents[0]), float(extents[1])), title)


def _extremes(coded: _Coded) -> Figure:
    images = normalise_on_host(coded.images)
    recons = decode(coded.trained, coded.code)
    errors = squared_error(images, recons)
    order, n = np.argsort(errors, kind="stable"), min(_NUM_EXTREMES, len(errors))
    rows = np.stack([order[:n], order[::-1][:n]])
    pairs = np.stack([images[rows], recons[rows]], axis=1)[..., 0]
    return extremes_figure(pairs, errors[rows], coded.title("the best and the worst reconstructions of test images"))


def _filters(coded: _Coded) -> Figure:
    kernel = np.asarray(coded.trained.params["encoder_0"]["kernel"])
    kernels = kernel.T.reshape(-1, 28, 28) if kernel.ndim == 2 else kernel[:, :, 0].transpose(2, 0, 1)
    return filters_figure(kernels, coded.title("first-layer filters"))


def _examples(coded: _Coded, n: int) -> tuple[Int[np.ndarray, "rows n"], list[str]]:
    """Positions of the first `n` test images of each label, and its name; without labels, of any images."""
    if coded.labels is None:
        rows = np.arange(min(_MOST_LABELS, max(1, len(coded.images) // n)) * n) % len(coded.images)
        return rows.reshape(-1, n), [str(row + 1) for row in range(len(rows) // n)]
    classes = np.unique(coded.labels)[:_MOST_LABELS]
    rows = np.stack([np.resize(np.flatnonzero(coded.labels == label), n) for label in classes])
    return rows, [str(label) for label in classes]


def _nearest_to_mean(coded: _Coded) -> int:
    """The test image whose code is nearest to the mean code."""
    return int(np.square(coded.numbers - coded.numbers.mean(0)).sum(axis=1).argmin())
