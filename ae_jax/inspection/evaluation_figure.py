"""Figure of an evaluation. Import this module only to draw: it imports matplotlib."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ae_jax.data.datasets import dataset_title
from ae_jax.figures import DPI
from ae_jax.inspection.evaluation import Evaluation

_OOD_COLORS = ("#e69f00", "#cc79a7", "#009e73")  # colour-blind safe: Okabe & Ito 2008
_MODEL_COLOR, _PCA_COLOR = "#0072b2", "#999999"


def evaluation_figure(evaluation: Evaluation) -> Figure:
    """Reconstruction error by label, label accuracy from latent codes, and error histograms of test and OOD images."""
    summary = evaluation.summary()
    has_labels = bool(summary["labels"])
    figure = Figure(figsize=(13 if has_labels else 6.5, 4), dpi=DPI, layout="constrained")
    if has_labels:
        errors, accuracies, histogram = figure.subplots(1, 3, width_ratios=(4, 2.8, 4))
        _draw_errors(errors, summary)
        _draw_accuracies(accuracies, summary)
    else:
        histogram = figure.subplots()
    _draw_histogram(histogram, evaluation, summary)
    trained, dataset = evaluation.trained, summary["dataset"]
    on_dataset = "" if dataset == trained.metadata["dataset_used"] else f" on {dataset_title(dataset)}"
    title = f"{trained.title}, {summary['latent_dim']}-dimensional latent code"
    figure.suptitle(f"{title}: test MSE{on_dataset} {summary['model']['mse']:.5f}")
    return figure


def _draw_errors(axes: Axes, summary: dict[str, Any]) -> None:
    places = np.arange(len(summary["labels"]))
    for name, color, shift in ((summary["arch"], _MODEL_COLOR, -0.2), ("PCA", _PCA_COLOR, 0.2)):
        key = "pca" if name == "PCA" else "model"
        axes.bar(places + shift, [row[key]["mse"] for row in summary["labels"].values()], 0.4, color=color, label=name)
    axes.set_xticks(places, list(summary["labels"]))
    axes.set(title="Reconstruction error by label", xlabel="label", ylabel="mean squared error")
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the legend
    axes.legend(loc="upper center", ncols=2)


def _draw_accuracies(axes: Axes, summary: dict[str, Any]) -> None:
    probes = {"neighbours_accuracy": "5 nearest\nneighbours", "linear_probe_accuracy": "linear\nprobe"}
    places = np.arange(len(probes))
    for key, color, shift in (("model", _MODEL_COLOR, -0.2), ("pca", _PCA_COLOR, 0.2)):
        bars = axes.bar(places + shift, [100 * summary[key][probe] for probe in probes], 0.4, color=color)
        axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.set_xticks(places, list(probes.values()))
    axes.set(title="Label accuracy from latent codes", ylabel="test accuracy (%)", ylim=(0, 109))


def _draw_histogram(axes: Axes, evaluation: Evaluation, summary: dict[str, Any]) -> None:
    errors, ood_errors = evaluation.model.values["mse"], evaluation.model.ood_mse
    all_errors = np.concatenate([errors, *ood_errors.values()])
    edges = np.geomspace(max(all_errors.min(), 1e-6), max(all_errors.max(), 2e-6), 60).tolist()
    axes.hist(errors, edges, color=_MODEL_COLOR, alpha=0.5, label="test images")
    for (name, values), color in zip(ood_errors.items(), _OOD_COLORS, strict=False):
        label = f"{name} (OOD), AUROC {summary['model']['auroc'][name]:.3f}"
        axes.hist(values, edges, histtype="step", linewidth=1.8, color=color, label=label)
    axes.set(title="OOD detection by reconstruction error", xscale="log")
    axes.set(xlabel="mean squared error per image", ylabel="number of images")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize="small", loc="upper left")
