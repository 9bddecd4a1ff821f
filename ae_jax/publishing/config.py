"""Settings of the command that makes a folder to publish."""

import dataclasses
import os

from ae_jax.config import argument, dataset_of_run_setting, run_argument, setting, shared_setting
from ae_jax.errors import InputError


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
            raise InputError(f"{self.out} already exists, and nothing is overwritten; choose another directory.")
