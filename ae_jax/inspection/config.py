"""Settings of the commands that inspect a trained model."""

import dataclasses

from ae_jax.config import argument, dataset_of_run_setting, run_argument, setting, shared_setting
from ae_jax.errors import InputError
from ae_jax.system.outputs import FIGURE_SUFFIXES, check_distinct, check_output

_ARRAYS = (".npy", ".npz")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """The settings of an evaluation."""

    run: str = run_argument()
    json: str | None = setting(None, "JSON file for all metrics (default: none)")
    figure: str | None = setting(None, "file for the figure, .png, .svg or .pdf (default: in the run's figures/)")
    dataset: str | None = dataset_of_run_setting()
    data_dir: str | None = shared_setting("data_dir", group=None)
    manual_dir: str | None = shared_setting("manual_dir", group=None)

    def __post_init__(self) -> None:
        if self.json is not None:
            check_output(self.json, "--json")
        if self.figure is not None:
            check_output(self.figure, "--figure", FIGURE_SUFFIXES)
        check_distinct({"--json": self.json, "--figure": self.figure})


@dataclasses.dataclass(frozen=True)
class VisualizeConfig:
    """The settings of the figures of a model."""

    run: str = run_argument()
    out: str | None = setting(None, "directory for the figures (default: the run's figures/)")
    dataset: str | None = dataset_of_run_setting()
    data_dir: str | None = shared_setting("data_dir", group=None)
    manual_dir: str | None = shared_setting("manual_dir", group=None)


@dataclasses.dataclass(frozen=True)
class ReconstructConfig:
    """The settings of a reconstruction of the user's images."""

    run: str = run_argument()
    images: str = argument(".npy or .npz file of uint8[n, 28, 28], or a PNG or JPEG picture of a digit")
    out: str | None = setting(
        None, "file for the reconstructions, f32[n, 28, 28, 1] as .npy or .npz, or a figure as .png, .svg or .pdf"
    )
    codes: str | None = setting(None, "file for the latent codes, f32[n, d] as .npy, or with pooling positions as .npz")

    def __post_init__(self) -> None:
        if not self.out and not self.codes:
            raise InputError("nothing to write; give --out, --codes or both.")
        if self.out is not None:
            check_output(self.out, "--out", (*_ARRAYS, *FIGURE_SUFFIXES))
        if self.codes is not None:
            check_output(self.codes, "--codes", _ARRAYS)
        check_distinct({"--out": self.out, "--codes": self.codes})
