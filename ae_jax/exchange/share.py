"""`ae-jax share`: a folder with model card, weights, ONNX graphs, figures and explorer, ready to upload.

The model card is a README with YAML front matter, as Hugging Face reads it (https://hf.co/docs/hub/model-cards).
"""

import functools
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np

from ae_jax.data.batching import to_float
from ae_jax.data.datasets import dataset_title, image_credit
from ae_jax.exchange.onnx import onnx_programs
from ae_jax.exchange.torch import portable_metadata, weights_bytes
from ae_jax.explorer.page import explorer_page
from ae_jax.figures import figure_bytes, reconstruction_figure
from ae_jax.inspection.evaluate import Evaluation, evaluate_model, evaluation_figure, evaluation_table, label_table
from ae_jax.runs.trained import TrainedModel, load_model
from ae_jax.system import check_output, write_folder
from ae_jax.types import PathLike

_NUM_DRAWN = 10
_HUB_DATASETS = {"mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist"}
_DENOISING = (
    "It is made to remove noise: from images with Gaussian noise of standard deviation {:g} it reconstructs those "
    "without, with a mean squared error of {:.5f} on the test images."
)
_LABELS = "\n<details><summary>By label; probes predict labels from latent codes</summary>\n\n{}\n\n</details>\n"
_yaml = functools.partial(json.dumps, ensure_ascii=False)  # a JSON string is a YAML string, whatever it holds
_OPERATIONAL = {"checkpoint_every", "keep", "figure_every", "tensorboard", "devices", "distributed"}  # not the model's


def share_run(run: str, out: str, license: str = "mit", dataset: str | None = None, **folders: PathLike | None) -> None:
    """Evaluate a model and write the folder; arguments as in `ae-jax share --help`. `InputError` without onnx."""
    check_output(out, "out")
    trained = load_model(run)
    programs = onnx_programs(trained)  # fails at once without onnx
    evaluation = evaluate_model(trained, dataset, **folders)
    files = {f"{name}.onnx": program.content for name, program in programs.items()} | _files(evaluation, license)
    write_folder(out, files)
    print(f"{out}: {len(files)} files, {sum(map(len, files.values())) / 2**20:.1f} MiB")


def _files(evaluation: Evaluation, licence: str) -> dict[str, bytes]:
    """The content of each file but the ONNX graphs by its path in the folder."""
    trained, images = evaluation.trained, evaluation.test_set.images[:_NUM_DRAWN]
    recons = reconstruction_figure(np.asarray(to_float(images)), trained.reconstruct(images), trained.title)
    config: dict[str, Any] = {"model_type": trained.config.arch, "step": trained.step, "test_mse": trained.test_mse}
    config |= {name: getattr(trained.model, name) for name in ("latent_dim", "hidden", "activation", "output")}
    return {
        "README.md": _model_card(trained, evaluation.summary(), licence).encode(errors="backslashreplace"),
        "config.json": (json.dumps(portable_metadata(trained.metadata) | config, indent=2) + "\n").encode(),
        "model.safetensors": weights_bytes(trained),
        "index.html": explorer_page(trained, evaluation.test_set).encode(errors="backslashreplace"),
        "figures/reconstructions.png": figure_bytes(recons, ".png"),
        "figures/evaluation.png": figure_bytes(evaluation_figure(evaluation), ".png"),
    }


def _model_card(trained: TrainedModel, summary: Mapping[str, Any], licence: str) -> str:
    """The card of a model with the metrics of an evaluation, `Evaluation.summary`."""
    dataset, trained_on = dataset_title(summary["dataset"]), trained.metadata["dataset_used"]
    title = f"{trained.config.arch} autoencoder of {trained.dataset}"
    digest = trained.metadata["dataset_sha256"]
    credit, noise = image_credit(summary["dataset"]), trained.config.noise
    template = (resources.files("ae_jax.exchange") / "card.md").read_text("utf-8")
    return template.format(
        license=_yaml(licence),
        datasets=f"datasets: [{_HUB_DATASETS[trained_on]}]\n" if trained_on in _HUB_DATASETS else "",
        name=_yaml(title),
        dataset_type=_yaml(_HUB_DATASETS.get(summary["dataset"], dataset)),
        dataset=_yaml(dataset),
        **{metric: summary["model"][metric] for metric in ("mse", "psnr", "ssim")},
        title=_markdown(title),
        latent_dim=trained.model.latent_dim,
        positions=", plus the positions of its pooling maxima" * (trained.config.arch == "conv-pool"),
        step=trained.step,
        data=_markdown(trained.dataset),
        seconds=f" in {max(seconds, 1):,.0f} s" if (seconds := trained.metadata.get("training_seconds")) else "",
        devices=f" on {', '.join(devices)}" if (devices := trained.metadata["devices_used"]) else "",
        purpose=_DENOISING.format(noise, summary["denoising_mse"]) if noise else "It is made to reconstruct its input.",
        tanh=" The module ends in `Tanh`: its inputs and outputs are in [-1, 1]." * (trained.model.output == "tanh"),
        table=evaluation_table({**summary, "dataset": _markdown(dataset), "labels": {}}),
        labels=_LABELS.format(label_table(summary)) if summary["labels"] else "",
        digest=f"The training and test images have the SHA-256 digest `{digest}`.\n\n" if digest else "",
        training=_training_table(portable_metadata(trained.metadata)),
        credit=f" of {credit}" if credit else "",
    )


def _training_table(metadata: Mapping[str, Any]) -> str:
    """A Markdown table of the settings and versions."""
    settings = {name: value for name, value in metadata["config"].items() if name not in _OPERATIONAL}
    settings["dataset"] = metadata["dataset_used"]
    settings["versions"] = ", ".join(f"{name} {version}" for name, version in metadata["versions"].items())
    rows = [f"| {name} | {_markdown(str(value))} |" for name, value in settings.items() if value is not None]
    return "\n".join(("| setting | value |", "|---|---|", *rows))


def _markdown(text: str) -> str:
    """Text that Markdown shows as it is: names of files may hold markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)
