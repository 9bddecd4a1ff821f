"""Metrics of a model and of PCA: image quality, label probes on latent codes, out-of-distribution (OOD) detection."""

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from ae_jax.data.batching import normalise_on_host
from ae_jax.data.datasets import Dataset, is_prepared, load_dataset
from ae_jax.data.glyphs import draw_glyphs
from ae_jax.metrics.image_quality import image_quality, squared_error
from ae_jax.metrics.pca import fit_pca
from ae_jax.metrics.probes import auroc, linear_probe, nearest_neighbours
from ae_jax.runs.inference import latents
from ae_jax.runs.trained_model import TrainedModel
from ae_jax.training.losses import with_fixed_noise
from ae_jax.types import FloatImages, HostCodes, HostImages, PathLike

_LETTERS, _LETTERS_SEED = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", 0
_MAX_PROBED = 60_000  # most training images and most test images of the probes
_PROBES = {"neighbours": nearest_neighbours, "linear_probe": linear_probe}


class Codec(NamedTuple):
    """Encoder and decoder of a model or of PCA, on images `u8[n, 28, 28, 1]`."""

    encode: Callable[[HostImages], Any]
    decode: Callable[[Any], FloatImages]
    encode_latents: Callable[[HostImages], HostCodes]  # without pooling positions


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Per-image metrics of a codec."""

    values: Mapping[str, np.ndarray]  # per test image: mse, psnr, ssim, and whether each probe predicts its label
    ood_mse: Mapping[str, np.ndarray]  # per image of each OOD set

    def means(self, selected: Any = slice(None)) -> dict[str, float]:
        """Mean over the `selected` test images of each metric; images without a prediction are NaN and ignored."""
        return {name: float(np.nanmean(values[selected], dtype=np.float64)) for name, values in self.values.items()}

    def aurocs(self) -> dict[str, float]:
        """AUROC of OOD detection by reconstruction error, for each OOD set."""
        return {name: auroc(self.values["mse"], ood) for name, ood in self.ood_mse.items()}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Evaluation of a model and of PCA with as many components, on the same images."""

    trained: TrainedModel
    test_set: Dataset
    model: Measurements
    pca: Measurements
    denoising_mse: float | None  # from reconstructions of noisy test images to the clean ones; None without --noise

    def summary(self) -> dict[str, Any]:
        """All metrics as JSON types."""
        labels = self.test_set.labels
        classes = () if labels is None else np.unique(labels).tolist()
        return {
            "checkpoint": self.trained.source,
            "step": self.trained.step,
            "arch": self.trained.config.arch,
            "latent_dim": self.trained.model.latent_dim,
            "dataset": self.test_set.name,
            "images": len(self.test_set.images),
            "model": self.model.means() | {"auroc": self.model.aurocs()},
            "pca": self.pca.means() | {"auroc": self.pca.aurocs()},
            "noise": self.trained.config.noise,
            "denoising_mse": self.denoising_mse,
            "labels": {str(label): self._label_summary(labels == label) for label in classes},
        }

    def _label_summary(self, selected: np.ndarray) -> dict[str, Any]:
        return {"images": int(selected.sum()), "model": self.model.means(selected), "pca": self.pca.means(selected)}


def evaluate_model(trained: TrainedModel, dataset: str | None = None, **folders: PathLike | None) -> Evaluation:
    """Evaluate a model on all test images of a dataset (default: the run's own); `folders` as for `load_dataset`.

    Raises:
      InputError: the data are unavailable.
    """
    train_set, test_set = (split.load() for split in trained.open_splits(dataset, **folders))
    with ThreadPoolExecutor() as pool:  # PCA is fitted while `draw_glyphs` compiles
        future = pool.submit(_ood_sets, test_set, folders)
        pca = fit_pca(train_set.images, trained.model.latent_dim)
    ood_sets = future.result()
    model_codec = Codec(trained.encode, trained.decode, trained.encode_latents)
    pca_codec = Codec(pca.encode, pca.decode, pca.encode)
    model, baseline = (_measure(codec, train_set, test_set, ood_sets) for codec in (model_codec, pca_codec))
    return Evaluation(trained, test_set, model, baseline, _denoising_mse(trained, test_set.images))


def _measure(codec: Codec, train_set: Dataset, test_set: Dataset, ood: Mapping[str, HostImages]) -> Measurements:
    codes = codec.encode(test_set.images)
    values = image_quality(normalise_on_host(test_set.images), codec.decode(codes))._asdict()
    if train_set.labels is not None and test_set.labels is not None:
        train_rows, test_rows = _probe_rows(len(train_set.images)), _probe_rows(len(test_set.images))
        train_latents = codec.encode_latents(train_set.images[train_rows])
        for name, probe in _PROBES.items():
            predicted = probe(train_latents, train_set.labels[train_rows], latents(codes)[test_rows])
            values[f"{name}_accuracy"] = np.full(len(test_set.images), np.nan)
            values[f"{name}_accuracy"][test_rows] = predicted == test_set.labels[test_rows]
    ood_mse = {name: squared_error(normalise_on_host(x), codec.decode(codec.encode(x))) for name, x in ood.items()}
    return Measurements(values, ood_mse)


def _ood_sets(test_set: Dataset, folders: Mapping[str, PathLike | None]) -> dict[str, HostImages]:
    """Out-of-distribution images: letters, rotated test images and, if it is prepared, Fashion-MNIST."""
    letters, _ = draw_glyphs(jax.random.key(_LETTERS_SEED), len(test_set.images), _LETTERS)
    ood_sets = {"letters": np.asarray(letters), "turned by 90°": np.rot90(test_set.images, axes=(1, 2))}
    if test_set.name != "fashion_mnist" and is_prepared("fashion_mnist", data_dir=folders.get("data_dir")):
        ood_sets["fashion_mnist"] = load_dataset("fashion_mnist", "test", **folders).images
    return ood_sets


def _denoising_mse(trained: TrainedModel, images: HostImages) -> float | None:
    if not trained.config.noise:
        return None
    noisy = with_fixed_noise(images, trained.config.noise)
    recons = trained.reconstruct(noisy)
    return float(np.mean(squared_error(normalise_on_host(images), recons), dtype=np.float64))


def _probe_rows(n: int) -> np.ndarray:
    """Indices of the images for the probes: all `n`, or `_MAX_PROBED` evenly spaced ones."""
    return np.arange(n) if n <= _MAX_PROBED else np.linspace(0, n - 1, _MAX_PROBED).astype(int)
