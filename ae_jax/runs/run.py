"""A run that this process holds: its folder, settings and images."""

import dataclasses
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ae_jax.choices import Arch
from ae_jax.data.datasets import OpenDataset, dataset_title
from ae_jax.runs.metadata import Record


class _HasArch(Protocol):
    @property
    def arch(self) -> Arch: ...


Config = TypeVar("Config", bound=_HasArch)  # `TrainConfig`, or a sweep's `SweepConfig`


@dataclasses.dataclass(frozen=True)
class Run(Generic[Config]):
    """A run, or a sweep, that holds its folder."""

    run_dir: Path
    config: Config
    record: Record
    train_set: OpenDataset
    test_set: OpenDataset

    @property
    def title(self) -> str:
        """The model and what it is trained on."""
        return f"{self.config.arch} on {dataset_title(self.train_set.name)}"
