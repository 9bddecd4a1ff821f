"""Settings of the commands that convert, export and share a model."""

import dataclasses
import os
from pathlib import Path
from typing import Literal

from ae_jax.choices import Output
from ae_jax.config import argument, dataset_of_run_setting, run_argument, setting, shared_setting
from ae_jax.errors import InputError
from ae_jax.system.outputs import check_output


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
    """The settings of a conversion."""

    direction: Literal["to-torch", "from-torch"] = argument("to-torch RUN OUT.safetensors, or from-torch FILE RUN_DIR")
    source: str = argument(
        "run directory, checkpoint or pretrained:NAME; from-torch: state dict in .safetensors, .pt or .pth"
    )
    target: str = argument("output file, .safetensors; from-torch: the new run directory")
    output: Output = setting("sigmoid", "from-torch: output activation, which the weights do not determine")

    def __post_init__(self) -> None:
        if self.direction == "to-torch":
            check_output(self.target, "the output file", (".safetensors",))


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """The settings of an export."""

    run: str = run_argument()
    out: str = argument("new directory for encode, decode and reconstruct, as .stablehlo or .onnx")
    format: Literal["stablehlo", "onnx"] = setting("stablehlo", "stablehlo: for JAX; onnx: for ONNX Runtime and others")

    def __post_init__(self) -> None:
        if Path(self.out).exists() and not (Path(self.out).is_dir() and not os.listdir(self.out)):
            raise _taken(self.out)


@dataclasses.dataclass(frozen=True)
class ShareConfig:
    """The settings of a folder to publish."""

    run: str = run_argument()
    out: str = argument("new directory for the model card, weights, ONNX graphs, figures and explorer")
    license: str = setting("mit", "licence of the weights, as Hugging Face names it")
    dataset: str | None = dataset_of_run_setting()
    data_dir: str | None = shared_setting("data_dir", group=None)
    manual_dir: str | None = shared_setting("manual_dir", group=None)

    def __post_init__(self) -> None:
        if os.path.lexists(self.out):
            raise _taken(self.out)


def _taken(out: str) -> InputError:
    return InputError(f"{out} already exists, and nothing is overwritten; choose another directory.")
