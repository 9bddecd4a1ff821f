"""An evaluation as a picture. Import it only where a picture is drawn: it imports matplotlib."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ae_jax.data.datasets import dataset_title
from ae_jax.figures import DPI
from ae_jax.inspection.evaluation import Evaluation

_FOREIGN_COLORS = ("#e69f00", "#cc79a7", "#009e73")  # Okabe & Ito 2008, told apart by the colour-blind too
_MODEL_COLOR, _PCA_COLOR = "#0072b2", "#999999"


def evaluation_figure(evaluation: Evaluation) -> Figure:
    """The error of each label, what the codes know of labels, and how the errors of foreign images lie beside."""
    summary = evaluation.summary()
    has_labels = bool(summary["labels"])
    figure = Figure(figsize=(13 if has_labels else 6.5, 4), dpi=DPI, layout="constrained")
    if has_labels:
        by_label, accuracies, errors = figure.subplots(1, 3, width_ratios=(4, 2.6, 4))
        _draw_labels(by_label, summary)
        _draw_accuracies(accuracies, summary)
    else:
        errors = figure.subplots()
    _draw_errors(errors, evaluation, summary)
    trained, dataset = evaluation.trained, summary["dataset"]
    tested = "" if dataset == trained.metadata["dataset_used"] else f" of {dataset_title(dataset)}"
    title = f"{trained.title}, code of {summary['latent_dim']} numbers"
    figure.suptitle(f"{title}: test MSE{tested} {summary['model']['mse']:.5f}")
    return figure


def _draw_labels(axes: Axes, summary: dict[str, Any]) -> None:
    places = np.arange(len(summary["labels"]))
    for name, color, shift in ((summary["arch"], _MODEL_COLOR, -0.2), ("PCA", _PCA_COLOR, 0.2)):
        key = "pca" if name == "PCA" else "model"
        axes.bar(places + shift, [row[key]["mse"] for row in summary["labels"].values()], 0.4, color=color, label=name)
    axes.set_xticks(places, list(summary["labels"]))
    axes.set(title="Error by label", xlabel="label", ylabel="mean squared error per pixel")
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the legend
    axes.legend(loc="upper center", ncols=2)


def _draw_accuracies(axes: Axes, summary: dict[str, Any]) -> None:
    probes = {"neighbours_accuracy": "5 nearest\nneighbours", "linear_probe_accuracy": "linear\nprobe"}
    places = np.arange(len(probes))
    for key, color, shift in (("model", _MODEL_COLOR, -0.2), ("pca", _PCA_COLOR, 0.2)):
        bars = axes.bar(places + shift, [100 * summary[key][probe] for probe in probes], 0.4, color=color)
        axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.set_xticks(places, list(probes.values()))
    axes.set(title="Labels read from codes", ylabel="% of test images right", ylim=(0, 109))


def _draw_errors(axes: Axes, evaluation: Evaluation, summary: dict[str, Any]) -> None:
    errors, foreign = evaluation.model.values["mse"], evaluation.model.foreign_mse
    everything = np.concatenate([errors, *foreign.values()])
    edges = np.geomspace(max(everything.min(), 1e-6), max(everything.max(), 2e-6), 60).tolist()
    axes.hist(errors, edges, color=_MODEL_COLOR, alpha=0.5, label="test images")
    for (name, values), color in zip(foreign.items(), _FOREIGN_COLORS, strict=False):
        label = f"{name}, AUROC {summary['model']['auroc'][name]:.3f}"
        axes.hist(values, edges, histtype="step", linewidth=1.8, color=color, label=label)
    axes.set(title="What looks foreign", xlabel="mean squared error of an image", ylabel="images", xscale="log")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize="small", loc="upper left")
