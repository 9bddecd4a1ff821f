"""`scripts/evaluate.py`: an evaluation as a table, a file and a picture."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ae_jax.figures import figure_bytes
from ae_jax.inspection.config import EvaluateConfig
from ae_jax.inspection.evaluation import evaluate_model
from ae_jax.inspection.evaluation_figure import evaluation_figure
from ae_jax.runs.load import load_model
from ae_jax.system.outputs import check_folder, write_output

_MEASURES = {  # its name in the summary: its name in a table, and how its values are written
    "mse": ("squared error", ".5f"),
    "psnr": ("PSNR, dB", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "neighbours_accuracy": ("5 neighbours", ".2%"),
    "linear_probe_accuracy": ("linear probe", ".2%"),
}


def evaluate_run(config: EvaluateConfig) -> None:
    """Evaluate, print the table, and write the files.

    Raises:
      InputError: the run or the data cannot be read.
      RunError: a file cannot be written.
    """
    trained = load_model(config.run)
    path = Path(config.figure) if config.figure else trained.figure_path("evaluation")
    check_folder(path.parent)
    evaluation = evaluate_model(trained, config.dataset, data_dir=config.data_dir, manual_dir=config.manual_dir)
    summary = evaluation.summary()
    print(f"{trained.checkpoint}, step {trained.step:,}\n\n{evaluation_table(summary)}\n")
    if config.json:
        write_output(config.json, (json.dumps(summary, indent=2) + "\n").encode())
    write_output(path, figure_bytes(evaluation_figure(evaluation), path.suffix))
    print(f"The picture is {path}")


def evaluation_table(summary: Mapping[str, Any]) -> str:
    """The whole test set first, with what is foreign to it, then each label."""
    tables = [_align(list(_totals(summary)))]
    if summary["labels"]:
        tables.append(_align(list(_labels(summary))))
    return "\n\n".join(tables)


def _totals(summary: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    model, pca = summary["model"], summary["pca"]
    yield f"{summary['images']:,} test images of {summary['dataset']}", summary["arch"], "PCA"
    yield "numbers in a code", str(summary["latent_dim"]), str(summary["latent_dim"])
    if summary["denoising_mse"] is not None:
        yield f"squared error, from images with noise {summary['noise']:g}", f"{summary['denoising_mse']:.5f}", ""
    for name, (title, form) in _MEASURES.items():
        if name in model:
            yield title, f"{model[name]:{form}}", f"{pca[name]:{form}}"
    for name, area in model["auroc"].items():
        yield f"AUROC of the error against {name}", f"{area:.4f}", f"{pca['auroc'][name]:.4f}"


def _labels(summary: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    measures = {name: form for name, form in _MEASURES.items() if name in summary["model"]}
    yield "label", "images", *(title for title, _ in measures.values()), "PCA's squared error"
    for label, row in summary["labels"].items():
        values = (f"{row['model'][name]:{form}}" for name, (_, form) in measures.items())
        yield label, f"{row['images']:,}", *values, f"{row['pca']['mse']:.5f}"


def _align(rows: list[Sequence[str]]) -> str:
    """The rows, of which the first is the head, in columns: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    ]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))
