"""A run in progress: its directory, settings, metadata and datasets."""

import dataclasses
from pathlib import Path
from typing import Generic

from ae_jax.data.datasets import OpenDataset, dataset_title
from ae_jax.runs.metadata import Config, Metadata


@dataclasses.dataclass(frozen=True)
class Run(Generic[Config]):
    """A run or a sweep, with its run directory, which this process has locked."""

    run_dir: Path
    config: Config
    metadata: Metadata
    train_set: OpenDataset
    test_set: OpenDataset
    validation_set: OpenDataset | None = None  # held out of the training set

    @property
    def title(self) -> str:
        """The model and its dataset."""
        return f"{self.config.arch} on {dataset_title(self.train_set.name)}"
