"""`ae-jax evaluate`: print an evaluation as tables, write it as JSON and draw it as a figure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ae_jax.figures import figure_bytes
from ae_jax.inspection.config import EvaluateConfig
from ae_jax.inspection.evaluation import evaluate_model
from ae_jax.inspection.evaluation_figure import evaluation_figure
from ae_jax.runs.load import load_model
from ae_jax.system.outputs import check_output_dir, replace_output, write_output

_METRICS = {  # key in the summary -> title in the tables, format
    "mse": ("MSE", ".5f"),
    "psnr": ("PSNR (dB)", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "neighbours_accuracy": ("5-NN accuracy", ".2%"),
    "linear_probe_accuracy": ("linear-probe accuracy", ".2%"),
}


def evaluate_run(config: EvaluateConfig) -> None:
    """Evaluate, print the tables, and write the files.

    Raises:
      InputError: the run or the data cannot be read.
      RunError: a file cannot be written.
    """
    trained = load_model(config.run)
    path = Path(config.figure) if config.figure else trained.figure_path("evaluation")
    check_output_dir(path.parent)
    evaluation = evaluate_model(trained, config.dataset, data_dir=config.data_dir, manual_dir=config.manual_dir)
    summary = evaluation.summary()
    print(f"{trained.source}, step {trained.step:,}\n\n{evaluation_table(summary)}\n")
    if config.json:
        write_output(config.json, (json.dumps(summary, indent=2) + "\n").encode())
    write = write_output if config.figure else replace_output
    write(path, figure_bytes(evaluation_figure(evaluation), path.suffix))
    print(f"Figure: {path}")


def evaluation_table(summary: Mapping[str, Any]) -> str:
    """One table for the whole test set with OOD detection, and one with a row per label."""
    tables = [_overall_rows(summary), *([_label_rows(summary)] if summary["labels"] else [])]
    return "\n\n".join(_align(list(rows)) for rows in tables)


def _overall_rows(summary: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    model, pca = summary["model"], summary["pca"]
    yield f"{summary['images']:,} test images of {summary['dataset']}", summary["arch"], "PCA"
    yield "latent dimension", str(summary["latent_dim"]), str(summary["latent_dim"])
    if summary["denoising_mse"] is not None:
        yield f"denoising MSE (noise std {summary['noise']:g})", f"{summary['denoising_mse']:.5f}", ""
    for name, (title, spec) in _METRICS.items():
        if name in model:
            yield title, f"{model[name]:{spec}}", f"{pca[name]:{spec}}"
    for name, value in model["auroc"].items():
        yield f"AUROC, {name} (OOD)", f"{value:.4f}", f"{pca['auroc'][name]:.4f}"


def _label_rows(summary: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    metrics = {name: metric for name, metric in _METRICS.items() if name in summary["model"]}
    yield "label", "images", *(title for title, _ in metrics.values()), "PCA MSE"
    for label, row in summary["labels"].items():
        values = (f"{row['model'][name]:{spec}}" for name, (_, spec) in metrics.items())
        yield label, f"{row['images']:,}", *values, f"{row['pca']['mse']:.5f}"


def _align(rows: list[Sequence[str]]) -> str:
    """Format rows, the first being the header, as a Markdown table: first column left-aligned, others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))
