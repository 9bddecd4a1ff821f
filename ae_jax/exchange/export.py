"""`ae-jax export`: export a trained model as programs that run without ae_jax."""

from pathlib import Path

import jax

from ae_jax.errors import InputError
from ae_jax.exchange.config import ExportConfig
from ae_jax.exchange.program import Program
from ae_jax.exchange.stablehlo import stablehlo_programs
from ae_jax.runs.load import load_model
from ae_jax.runs.trained_model import TrainedModel
from ae_jax.system.outputs import make_output_dir, write_output


def export_run(config: ExportConfig) -> None:
    """Write the programs `encode`, `decode` and `reconstruct`.

    Raises:
      InputError: the run cannot be read, the directory cannot be created, or onnx is not installed.
      RunError: a file cannot be written.
    """
    make_programs = {"stablehlo": stablehlo_programs, "onnx": onnx_programs}[config.format]
    programs = make_programs(load_model(config.run))
    folder = Path(config.out)
    make_output_dir(folder)
    for name, program in programs.items():
        path = folder / f"{name}.{config.format}"
        write_output(path, program.content)
        print(f"{path}: {program.signature}")
    if config.format == "stablehlo":
        print(f"Readable by versions of jax released at most 6 months after {jax.__version__}, or 3 weeks before.")


def onnx_programs(trained: TrainedModel) -> dict[str, Program]:
    """ONNX graphs of a model: `encode`, `decode` and `reconstruct`, for any number of images.

    >>> program = ae_jax.onnx_programs(ae_jax.load_pretrained("linear"))["encode"]
    >>> program.signature  # program.content has the bytes of the file
    'images float32[n, 28, 28, 1] → latents float32[n, 3]'

    Raises:
      InputError: onnx is not installed.
    """
    try:
        from ae_jax.exchange.onnx_graphs import onnx_models, signature
    except ImportError as error:
        raise InputError('onnx is not installed: pip install onnx, or ae_jax with the extra "onnx".') from error
    return {name: Program(model.SerializeToString(), signature(model)) for name, model in onnx_models(trained).items()}
