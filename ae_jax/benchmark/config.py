"""The settings of the benchmark."""

import dataclasses
import os
from pathlib import Path
from typing import Literal

from ae_jax.config import setting
from ae_jax.errors import InputError

_FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure."""

    arch: Literal["both", "conv", "linear"] = setting("both", "the model")
    part: Literal["all", "steps", "growth", "quality", "process"] = setting("all", "what to measure")
    dataset: str = setting("auto", "as for scripts/train.py; quality wants mnist")
    rounds: int = setting(15, "turns that each contender gets")
    json: str | None = setting(None, "file for every number; default none")
    figure: str | None = setting(None, "file for a picture, .png, .svg or .pdf; default none")

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"--rounds must be at least 1, not {self.rounds}.")
        if self.part == "process" and self.arch == "linear":
            raise InputError("--part process is measured on conv alone; leave out --arch linear.")
        for path in map(Path, filter(None, (self.json, self.figure))):
            if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
                raise InputError(f"{path} cannot be written; give another file.")
        if self.figure and Path(self.figure).suffix not in _FIGURE_SUFFIXES:
            raise InputError(f"--figure must end in {', '.join(_FIGURE_SUFFIXES)}, not {self.figure}.")
