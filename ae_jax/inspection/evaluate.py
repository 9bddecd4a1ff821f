"""`ae-jax evaluate`: metrics of a model and of PCA, as tables, as JSON and as a figure.

They are image quality, label probes on latent codes, and out-of-distribution (OOD) detection.
"""

from collections.abc import Iterator, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from ae_jax.data.batching import to_float
from ae_jax.data.datasets import Dataset, dataset_title, is_array_file, is_prepared, load_dataset
from ae_jax.data.glyphs import draw_glyphs
from ae_jax.figures import BASELINE_COLOR, DPI, MODEL_COLOR, PALETTE, default_style, figure_bytes
from ae_jax.metrics.pca import Pca, fit_pca
from ae_jax.metrics.quality import auroc, image_quality, linear_probe, nearest_neighbours, squared_error
from ae_jax.runs.report import align_table
from ae_jax.runs.trained import TrainedModel, latents, load_model
from ae_jax.system import FIGURE_SUFFIXES, check_output, write_output
from ae_jax.training.losses import with_fixed_noise
from ae_jax.types import HostImages, PathLike

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MAX_PROBED = 60_000  # most training images of the probes, evenly spaced
_PROBES = {"neighbours": nearest_neighbours, "linear_probe": linear_probe}
_METRICS = {  # key in the summary -> title in the tables, format
    "mse": ("MSE", ".5f"),
    "psnr": ("PSNR (dB)", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "neighbours_accuracy": ("5-NN", ".2%"),
    "linear_probe_accuracy": ("linear probe", ".2%"),
}
_OOD_COLORS = (PALETTE[1], PALETTE[2], PALETTE[4])


class Measurements(NamedTuple):
    """Per-image metrics of a model or of PCA."""

    values: Mapping[str, np.ndarray]  # per test image: mse, psnr, ssim, and whether each probe predicts its label
    ood_mse: Mapping[str, np.ndarray]  # per image of each OOD set

    def means(self, selected: Any = slice(None)) -> dict[str, float]:
        """Mean over the `selected` test images of each metric."""
        return {name: float(np.mean(values[selected], dtype=np.float64)) for name, values in self.values.items()}

    def aurocs(self) -> dict[str, float]:
        """AUROC of OOD detection by reconstruction error, for each OOD set."""
        return {name: auroc(self.values["mse"], ood) for name, ood in self.ood_mse.items()}


class Evaluation(NamedTuple):
    """Evaluation of a model and of PCA with as many components, on the same images."""

    trained: TrainedModel
    test_set: Dataset
    model: Measurements
    pca: Measurements
    num_images: int  # of the whole dataset
    denoising_mse: float | None  # from reconstructions of noisy test images to the clean ones; None without --noise

    def summary(self) -> dict[str, Any]:
        """All metrics as JSON types."""
        trained, test_set, model, pca, *_ = self
        labels = test_set.labels
        selected = {} if labels is None else {str(label): labels == label for label in np.unique(labels)}
        return {
            "checkpoint": trained.source,
            "step": trained.step,
            "arch": trained.config.arch,
            "latent_dim": trained.model.latent_dim,
            "dataset": test_set.name,
            "images": len(test_set.images),
            "images_of_dataset": self.num_images,
            "model": model.means() | {"auroc": model.aurocs()},
            "pca": pca.means() | {"auroc": pca.aurocs()},
            "noise": trained.config.noise,
            "denoising_mse": self.denoising_mse,
            "labels": {
                label: {"images": int(rows.sum()), "model": model.means(rows), "pca": pca.means(rows)}
                for label, rows in selected.items()
            },
        }


def evaluate_run(
    run: str, json: str | None = None, figure: str | None = None, dataset: str | None = None, **folders: PathLike | None
) -> None:
    """Evaluate a model, print the tables, and write the files; arguments as in `ae-jax evaluate --help`.

    By default the figure is written into the run's `figures`, where it is replaced.
    """
    check_output(json, "json")
    check_output(figure, "figure", FIGURE_SUFFIXES)
    trained = load_model(run)
    path = Path(figure) if figure else trained.figure_path("evaluation")
    evaluation = evaluate_model(trained, dataset, **folders)
    summary = evaluation.summary()
    print(f"{trained.source}, step {trained.step:,}\n\n{evaluation_table(summary)}\n")
    if json:
        write_output(json, (dumps(summary, indent=2) + "\n").encode())
    write_output(path, figure_bytes(evaluation_figure(evaluation), path.suffix), replace=not figure)
    print(f"Figure: {path}")


def evaluate_model(trained: TrainedModel, dataset: str | None = None, **folders: PathLike | None) -> Evaluation:
    """Evaluate on all test images of a dataset (default: the run's own); `folders` and errors as for `load_dataset`."""
    train_set, test_set = trained.load_splits(dataset, **folders)
    ood_sets = _ood_sets(test_set, folders)
    codecs = trained, fit_pca(train_set.images, trained.model.latent_dim)
    bar = tqdm(codecs, "Evaluating", disable=None, leave=False)
    model, pca = (_measure(codec, train_set, test_set, ood_sets) for codec in bar)
    num_images, denoising_mse = len(train_set.images) + len(test_set.images), None
    if trained.config.noise:
        recons = trained.reconstruct(with_fixed_noise(test_set.images, trained.config.noise))
        denoising_mse = float(squared_error(np.asarray(to_float(test_set.images)), recons).mean())
    return Evaluation(trained, test_set, model, pca, num_images, denoising_mse)


def _measure(
    codec: TrainedModel | Pca, train_set: Dataset, test_set: Dataset, ood_sets: Mapping[str, HostImages]
) -> Measurements:
    codes = codec.encode(test_set.images)
    values = image_quality(np.asarray(to_float(test_set.images)), codec.decode(codes))
    if train_set.labels is not None and test_set.labels is not None:
        n = len(train_set.images)
        rows = np.linspace(0, n - 1, min(n, _MAX_PROBED)).astype(int)
        encode = codec.encode if isinstance(codec, Pca) else codec.encode_latents
        known = encode(train_set.images[rows]), train_set.labels[rows]
        for name, probe in _PROBES.items():
            values[f"{name}_accuracy"] = probe(*known, latents(codes)) == test_set.labels
    ood_images = {name: np.asarray(to_float(images)) for name, images in ood_sets.items()}
    ood_mse = {name: squared_error(x, codec.decode(codec.encode(ood_sets[name]))) for name, x in ood_images.items()}
    return Measurements(values, ood_mse)


def _ood_sets(test_set: Dataset, folders: Mapping[str, PathLike | None]) -> dict[str, HostImages]:
    """Letters, rotated test images and, if it is prepared, Fashion-MNIST."""
    letters, _ = draw_glyphs(jax.random.key(0), len(test_set.images), _LETTERS)
    ood_sets = {"letters": np.asarray(letters), "turned by 90°": np.rot90(test_set.images, axes=(1, 2))}
    if test_set.name != "fashion_mnist" and is_prepared("fashion_mnist", data_dir=folders.get("data_dir")):
        ood_sets["fashion_mnist"] = load_dataset("fashion_mnist", "test", **folders).images
    return ood_sets


def evaluation_table(summary: Mapping[str, Any]) -> str:
    """One table for the whole test set with OOD detection, and one with a row per label."""
    overall = align_table(list(_overall_rows(summary)))
    return f"{overall}\n\n{label_table(summary)}" if summary["labels"] else overall


def label_table(summary: Mapping[str, Any]) -> str:
    """One row per label, in at most 80 columns."""
    metrics = {name: metric for name, metric in _METRICS.items() if name in summary["model"]}
    rows: list[Sequence[str]] = [("label", "images", *(title for title, _ in metrics.values()), "PCA MSE")]
    for label, row in summary["labels"].items():
        values = (f"{row['model'][name]:{spec}}" for name, (_, spec) in metrics.items())
        rows.append((label, f"{row['images']:,}", *values, f"{row['pca']['mse']:.5f}"))
    return align_table(rows)


def _overall_rows(summary: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    model, pca = summary["model"], summary["pca"]
    whole = f"the {summary['images_of_dataset']:,} in " * is_array_file(summary["dataset"])
    yield f"{summary['images']:,} test images of {whole}{summary['dataset']}", summary["arch"], "PCA"
    yield "latent dimension", str(summary["latent_dim"]), str(summary["latent_dim"])
    if summary["denoising_mse"] is not None:
        yield f"denoising MSE (noise std {summary['noise']:g})", f"{summary['denoising_mse']:.5f}", ""
    for name, (title, spec) in _METRICS.items():
        if name in model:
            title += " accuracy" * name.endswith("accuracy")
            yield title, f"{model[name]:{spec}}", f"{pca[name]:{spec}}"
    for name, value in model["auroc"].items():
        yield f"AUROC, {name} (OOD)", f"{value:.4f}", f"{pca['auroc'][name]:.4f}"


@default_style
def evaluation_figure(evaluation: Evaluation) -> Figure:
    """Reconstruction error by label, label accuracy from latent codes, and error histograms of test and OOD images."""
    summary = evaluation.summary()
    figure = Figure(figsize=(13 if summary["labels"] else 6.5, 4), dpi=DPI, layout="constrained")
    if summary["labels"]:
        errors, accuracies, histogram = figure.subplots(1, 3, width_ratios=(4, 2.8, 4))
        _draw_errors(errors, summary)
        _draw_accuracies(accuracies, summary)
    else:
        histogram = figure.subplots()
    _draw_histogram(histogram, evaluation)
    trained, dataset = evaluation.trained, summary["dataset"]
    on_dataset = "" if dataset == trained.metadata["dataset_used"] else f" on {dataset_title(dataset)}"
    title = f"{trained.title}, {summary['latent_dim']}-dimensional latent code"
    figure.suptitle(f"{title}: test MSE{on_dataset} {summary['model']['mse']:.5f}")
    return figure


def _draw_errors(axes: Axes, summary: dict[str, Any]) -> None:
    positions, rows = np.arange(len(summary["labels"])), summary["labels"].values()
    for key, name, color, shift in (("model", summary["arch"], MODEL_COLOR, -0.2), ("pca", "PCA", BASELINE_COLOR, 0.2)):
        axes.bar(positions + shift, [row[key]["mse"] for row in rows], 0.4, color=color, label=name)
    axes.set_xticks(positions, list(summary["labels"]))
    axes.set(title="Reconstruction error by label", xlabel="label", ylabel="mean squared error per pixel")
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the legend
    axes.legend(loc="upper center", ncols=2)


def _draw_accuracies(axes: Axes, summary: dict[str, Any]) -> None:
    probes = {"neighbours_accuracy": "5 nearest\nneighbours", "linear_probe_accuracy": "linear\nprobe"}
    positions = np.arange(len(probes))
    for key, color, shift in (("model", MODEL_COLOR, -0.2), ("pca", BASELINE_COLOR, 0.2)):
        bars = axes.bar(positions + shift, [100 * summary[key][probe] for probe in probes], 0.4, color=color)
        axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.set_xticks(positions, list(probes.values()))
    axes.set(title="Label accuracy from latent codes", ylabel="test accuracy (%)", ylim=(0, 109))


def _draw_histogram(axes: Axes, evaluation: Evaluation) -> None:
    model, aurocs = evaluation.model, evaluation.model.aurocs()
    errors = np.concatenate([model.values["mse"], *model.ood_mse.values()])
    edges = np.geomspace(max(errors.min(), 1e-6), max(errors.max(), 2e-6), 60).tolist()
    axes.hist(model.values["mse"], edges, color=MODEL_COLOR, alpha=0.5, label="test images")
    for (name, values), color in zip(model.ood_mse.items(), _OOD_COLORS, strict=False):
        label = f"{name} (OOD), AUROC {aurocs[name]:.3f}"
        axes.hist(values, edges, histtype="step", linewidth=1.8, color=color, label=label)
    axes.set(title="OOD detection by reconstruction error", xscale="log")
    axes.set(xlabel="mean squared error per pixel", ylabel="number of images")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize="small", loc="upper left")
