"""The settings of the benchmark."""

import dataclasses
from typing import Literal

from ae_jax.config import setting
from ae_jax.errors import InputError
from ae_jax.system.outputs import FIGURE_SUFFIXES, check_output


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure."""

    arch: Literal["both", "conv", "linear"] = setting("both", "the model")
    part: Literal["all", "steps", "growth", "quality", "scaling", "process"] = setting("all", "what to measure")
    dataset: str = setting("auto", "as for scripts/train.py; quality wants mnist")
    rounds: int = setting(15, "turns that each contender gets")
    json: str | None = setting(None, "file for every number; default none")
    figure: str | None = setting(None, "file for a picture, .png, .svg or .pdf; default none")

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"--rounds must be at least 1, not {self.rounds}.")
        if self.part == "process" and self.arch == "linear":
            raise InputError("--part process is measured on conv alone; leave out --arch linear.")
        if self.json:
            check_output(self.json, "--json")
        if self.figure:
            check_output(self.figure, "--figure", FIGURE_SUFFIXES)
