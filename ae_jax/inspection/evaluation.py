"""How good a code is, in numbers: what is lost, what its numbers still know, what looks foreign to it, beside PCA."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from ae_jax.data.batching import normalise_on_host
from ae_jax.data.datasets import Dataset, is_at_hand, load_dataset, open_splits
from ae_jax.data.glyphs import draw_glyphs
from ae_jax.inspection.inference import decode, encode, encode_latents, latents
from ae_jax.metrics.image_quality import image_quality, squared_error
from ae_jax.metrics.pca import fit_pca
from ae_jax.metrics.probes import auroc, linear_probe, nearest_neighbours
from ae_jax.runs.load import TrainedModel
from ae_jax.training.losses import with_fixed_noise
from ae_jax.types import HostCodes, HostImages, PathLike

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MOST_PROBED = 60_000  # training images that the probes learn from, and test images that they are asked
_SEED = 0  # of the letters
_PROBES = {"neighbours": nearest_neighbours, "linear_probe": linear_probe}


class Coder(NamedTuple):
    """Something that makes codes of `u8[n, 28, 28, 1]`, and `f32[n, 28, 28, 1]` of codes."""

    encode: Callable[[HostImages], Any]
    decode: Callable[[Any], Float[np.ndarray, "n 28 28 1"]]
    numbers: Callable[[HostImages], HostCodes]  # of the codes, without what a decoder wants besides


@dataclasses.dataclass(frozen=True)
class Measured:
    """A coder on a test set."""

    values: Mapping[str, np.ndarray]  # mse, psnr, ssim and for each probe whether it was right, of each test image
    foreign_mse: Mapping[str, np.ndarray]  # of each foreign image

    def averages(self, chosen: Any = slice(None)) -> dict[str, float]:
        """The means over the test images, or over the `chosen` ones; what was not asked is NaN and does not count."""
        return {name: float(np.nanmean(values[chosen], dtype=np.float64)) for name, values in self.values.items()}

    def aurocs(self) -> dict[str, float]:
        """How well the squared error separates the foreign images from the test set's."""
        return {name: auroc(self.values["mse"], foreign) for name, foreign in self.foreign_mse.items()}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model, and PCA with as many components, on the same images."""

    trained: TrainedModel
    test_set: Dataset
    model: Measured
    pca: Measured
    denoising_mse: float | None  # from noisy test images to the clean ones, of a model that was trained to

    def summary(self) -> dict[str, Any]:
        """Every number, of JSON's types."""
        labels = self.test_set.labels
        classes = () if labels is None else np.unique(labels).tolist()
        return {
            "checkpoint": str(self.trained.checkpoint),
            "step": self.trained.step,
            "arch": self.trained.config.arch,
            "latent_dim": self.trained.model.latent_dim,
            "dataset": self.test_set.name,
            "images": len(self.test_set.images),
            "model": self.model.averages() | {"auroc": self.model.aurocs()},
            "pca": self.pca.averages() | {"auroc": self.pca.aurocs()},
            "noise": self.trained.config.noise,
            "denoising_mse": self.denoising_mse,
            "labels": {str(label): self._of_label(labels == label) for label in classes},
        }

    def _of_label(self, chosen: np.ndarray) -> dict[str, Any]:
        averages = {"model": self.model.averages(chosen), "pca": self.pca.averages(chosen)}
        return {"images": int(chosen.sum()), **averages}


def evaluate_model(
    trained: TrainedModel,
    dataset: str | None = None,
    *,
    data_dir: PathLike | None = None,
    manual_dir: PathLike | None = None,
) -> Evaluation:
    """Evaluate a trained model on all test images of a dataset, by default of its run's.

    Raises:
      InputError: the data cannot be had.
    """
    folders = {"data_dir": data_dir, "manual_dir": manual_dir}
    name = trained.find_dataset(dataset, **folders)
    train_set, test_set = (dataset.load() for dataset in open_splits(name, **folders))
    with ThreadPoolExecutor() as pool:  # the letters' program is compiled meanwhile
        foreign_images = pool.submit(_foreign_images, test_set, folders)
        pca = fit_pca(train_set.images, trained.model.latent_dim)
    foreign = foreign_images.result()
    coders = (
        Coder(*(functools.partial(function, trained) for function in (encode, decode, encode_latents))),
        Coder(pca.encode, pca.decode, pca.encode),
    )
    model, baseline = (_measure(coder, train_set, test_set, foreign) for coder in coders)
    return Evaluation(trained, test_set, model, baseline, _denoising_mse(trained, test_set.images))


def _measure(coder: Coder, train_set: Dataset, test_set: Dataset, foreign: Mapping[str, HostImages]) -> Measured:
    codes = coder.encode(test_set.images)
    values = image_quality(normalise_on_host(test_set.images), coder.decode(codes))._asdict()
    if train_set.labels is not None and test_set.labels is not None:
        learned, asked = _spread(len(train_set.images)), _spread(len(test_set.images))
        known, truth = coder.numbers(train_set.images[learned]), test_set.labels[asked]
        with ThreadPoolExecutor() as pool:
            arguments = known, train_set.labels[learned], latents(codes)[asked]
            predicted = {name: pool.submit(probe, *arguments) for name, probe in _PROBES.items()}
        for name, labels in predicted.items():
            values[f"{name}_accuracy"] = np.full(len(test_set.images), np.nan)
            values[f"{name}_accuracy"][asked] = labels.result() == truth
    foreign_mse = {
        name: squared_error(normalise_on_host(images), coder.decode(coder.encode(images)))
        for name, images in foreign.items()
    }
    return Measured(values, foreign_mse)


def _foreign_images(test_set: Dataset, folders: Mapping[str, PathLike | None]) -> dict[str, HostImages]:
    """Images of the same format that show other things."""
    letters, _ = draw_glyphs(jax.random.key(_SEED), len(test_set.images), _LETTERS)
    foreign = {"letters": np.asarray(letters), "turned by 90°": np.rot90(test_set.images, axes=(1, 2))}
    if test_set.name != "fashion_mnist" and is_at_hand("fashion_mnist", data_dir=folders["data_dir"]):
        foreign["fashion_mnist"] = load_dataset("fashion_mnist", "test", **folders).images
    return foreign


def _denoising_mse(trained: TrainedModel, images: HostImages) -> float | None:
    if not trained.config.noise:
        return None
    noisy = with_fixed_noise(images, trained.config.noise)
    recons = decode(trained, encode(trained, noisy))
    return float(np.mean(squared_error(normalise_on_host(images), recons), dtype=np.float64))


def _spread(n: int) -> np.ndarray:
    """The positions of the images that are probed: all, or as many as may be, evenly spread."""
    return np.arange(n) if n <= _MOST_PROBED else np.linspace(0, n - 1, _MOST_PROBED).astype(int)
