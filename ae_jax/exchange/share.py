"""`ae-jax share`: a folder with model card, weights, ONNX graphs, figures and explorer, ready to upload."""

import json
from pathlib import Path
from typing import Any

from ae_jax.data.batching import normalise_on_host
from ae_jax.exchange.card import model_card
from ae_jax.exchange.config import ShareConfig
from ae_jax.exchange.export import onnx_programs
from ae_jax.exchange.program import Program
from ae_jax.explorer.page import explorer_page
from ae_jax.figures import figure_bytes, reconstruction_figure
from ae_jax.inspection.evaluation import Evaluation, evaluate_model
from ae_jax.inspection.evaluation_figure import evaluation_figure
from ae_jax.runs.load import load_model
from ae_jax.runs.metadata import portable_metadata
from ae_jax.runs.trained_model import TrainedModel
from ae_jax.runs.weights_file import portable_weights, weights_bytes
from ae_jax.system.outputs import check_output_dir, make_output_dir, write_output
from ae_jax.types import HostImages

_NUM_DRAWN = 10


def share_run(config: ShareConfig) -> None:
    """Evaluate the model and write the folder.

    Raises:
      InputError: the run or the data cannot be read, the folder cannot be created, or onnx is not installed.
      RunError: a file cannot be written.
    """
    folder = Path(config.out)
    check_output_dir(folder.parent)
    trained = load_model(config.run)
    programs = onnx_programs(trained)  # fails at once without onnx
    folders = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
    evaluation = evaluate_model(trained, config.dataset, **folders)
    files = _files(trained, evaluation, programs, config.license)  # all of them, before the folder exists
    make_output_dir(folder / "figures")
    for name, content in files.items():
        write_output(folder / name, content)
    print(f"{folder}: {len(files)} files, {sum(map(len, files.values())) / 2**20:.1f} MiB")


def _files(
    trained: TrainedModel, evaluation: Evaluation, programs: dict[str, Program], licence: str
) -> dict[str, bytes]:
    """The content of each file by its path in the folder."""
    figures = {
        "reconstructions": _reconstructions(trained, evaluation.test_set.images),
        "evaluation": evaluation_figure(evaluation),
    }
    return {
        "README.md": model_card(trained, evaluation.summary(), licence).encode(),
        "config.json": (json.dumps(_config(trained), indent=2) + "\n").encode(),
        "model.safetensors": weights_bytes(portable_weights(trained)),
        "index.html": explorer_page(trained, evaluation.test_set).encode(),
        **{f"{name}.onnx": program.content for name, program in programs.items()},
        **{f"figures/{name}.png": figure_bytes(figure, ".png") for name, figure in figures.items()},
    }


def _config(trained: TrainedModel) -> dict[str, Any]:
    return {
        "model_type": trained.config.arch,
        "latent_dim": trained.model.latent_dim,
        "output": trained.model.output,
        "step": trained.step,
        "test_mse": trained.test_mse,
        **portable_metadata(trained.metadata),
    }


def _reconstructions(trained: TrainedModel, images: HostImages) -> Any:
    drawn = images[:_NUM_DRAWN]
    return reconstruction_figure(normalise_on_host(drawn), trained.reconstruct(drawn), trained.title)
