"""The settings of the commands that carry a model elsewhere and back."""

import dataclasses
import os
from pathlib import Path
from typing import Literal

from ae_jax.choices import Output
from ae_jax.config import argument, setting
from ae_jax.errors import InputError
from ae_jax.system.outputs import check_output


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
    """What to convert."""

    direction: Literal["to-torch", "from-torch"] = argument("to-torch RUN OUT.safetensors, or from-torch FILE RUN_DIR")
    source: str = argument("a run directory or a checkpoint; from-torch: a state dict, .safetensors, .pt or .pth")
    target: str = argument("the file to write, .safetensors; from-torch: the run directory to make")
    output: Output = setting("sigmoid", "from-torch: what the model ends in, which weights do not tell")

    def __post_init__(self) -> None:
        if self.direction == "to-torch":
            check_output(self.target, "the file to write", (".safetensors",), replace=False)


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What to export."""

    run: str = argument("a run directory, whose newest sound checkpoint is taken, or a checkpoint")
    out: str = argument("the folder to make, for encode.stablehlo, decode.stablehlo and reconstruct.stablehlo")

    def __post_init__(self) -> None:
        if Path(self.out).exists() and not (Path(self.out).is_dir() and not os.listdir(self.out)):
            raise InputError(f"{self.out} is there already, and nothing is overwritten; give another folder.")
