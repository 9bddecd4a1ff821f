"""The settings of the commands that look inside."""

import dataclasses
from pathlib import Path

from ae_jax.config import argument, setting
from ae_jax.errors import InputError
from ae_jax.system.outputs import FIGURE_SUFFIXES, check_output

_ARRAYS = (".npy", ".npz")
_RUN = "a run directory, whose newest sound checkpoint is taken, or a checkpoint"
_DATASET = "as for scripts/train.py; default the run's own"
_DATA_DIR = "TFDS's data dir; default $TFDS_DATA_DIR or ~/tensorflow_datasets"
_MANUAL_DIR = "holds the dataset's official files; default $AE_JAX_MANUAL_DIR"


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate."""

    run: str = argument(_RUN)
    json: str | None = setting(None, "file for every number; default none")
    figure: str | None = setting(None, "file for the picture, .png, .svg or .pdf; default in the run's figures/")
    dataset: str | None = setting(None, _DATASET)
    data_dir: str | None = setting(None, _DATA_DIR)
    manual_dir: str | None = setting(None, _MANUAL_DIR)

    def __post_init__(self) -> None:
        if self.json:
            check_output(self.json, "--json")
        if self.figure:
            check_output(self.figure, "--figure", FIGURE_SUFFIXES)


@dataclasses.dataclass(frozen=True)
class VisualizeConfig:
    """What to draw."""

    run: str = argument(_RUN)
    out: str | None = setting(None, "folder for the pictures; default the run's figures/")
    dataset: str | None = setting(None, _DATASET)
    data_dir: str | None = setting(None, _DATA_DIR)
    manual_dir: str | None = setting(None, _MANUAL_DIR)


@dataclasses.dataclass(frozen=True)
class ReconstructConfig:
    """What to encode and decode."""

    run: str = argument(_RUN)
    images: str = argument("a .npy or .npz file of uint8[n, 28, 28], or a .png of 28×28 pixels")
    out: str | None = setting(
        None, "reconstructions: as f32[n, 28, 28, 1] in a .npy or .npz, or drawn (.png, .svg, .pdf)"
    )
    codes: str | None = setting(None, "codes: as f32[n, numbers] in a .npy, or with a pooling's positions in a .npz")

    def __post_init__(self) -> None:
        if not self.out and not self.codes:
            raise InputError("nothing to write; give --out, --codes or both.")
        for flag, path, suffixes in (
            ("--out", self.out, (*_ARRAYS, *FIGURE_SUFFIXES)),
            ("--codes", self.codes, _ARRAYS),
        ):
            if path:
                check_output(path, flag, suffixes, replace=False)
        if self.out and self.codes and Path(self.out).absolute() == Path(self.codes).absolute():
            raise InputError(f"--out and --codes are both {self.out}; give two files.")
