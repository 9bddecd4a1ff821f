"""Settings of the benchmark."""

import dataclasses
from typing import Literal, TypeAlias

from ae_jax.config import setting
from ae_jax.errors import InputError
from ae_jax.system.outputs import FIGURE_SUFFIXES, check_distinct, check_output

Part: TypeAlias = Literal["all", "steps", "growth", "quality", "scaling", "process", "convolutions"]


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """The settings of `scripts/benchmark.py`; raises `InputError` for an invalid value."""

    arch: Literal["both", "conv", "linear"] = setting("both", "models to train")
    part: Part = setting("all", "measurement")
    dataset: str = setting("auto", "as for scripts/train.py; quality requires mnist")
    rounds: int = setting(15, "timed rounds per contender")
    json: str | None = setting(None, "JSON file for the results (default: none)")
    figure: str | None = setting(None, "figure file, .png, .svg or .pdf (default: none)")

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"--rounds must be at least 1, not {self.rounds}.")
        if self.part == "process" and self.arch == "linear":
            raise InputError("--part process measures conv only; leave out --arch linear.")
        if self.json is not None:
            check_output(self.json, "--json")
        if self.figure is not None:
            check_output(self.figure, "--figure", FIGURE_SUFFIXES)
        check_distinct({"--json": self.json, "--figure": self.figure})
