"""A trained model: parameters, settings, metadata, and what they compute."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from ae_jax.config import TrainConfig
from ae_jax.data.datasets import OpenDataset, dataset_title, find_dataset, open_splits
from ae_jax.errors import InputError
from ae_jax.models import pretrained
from ae_jax.models.autoencoders import Autoencoder
from ae_jax.runs import inference
from ae_jax.runs.metadata import Metadata, dataset_digest
from ae_jax.types import AnyBatch, FloatImages, HostCodes, Params, PathLike

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model with the trained parameters of a run.

    `model.apply({"params": params}, images)` maps `f32[n, 28, 28, 1]` in [0, 1] to the same. The methods do so for any
    number of images, in chunks, from and to host memory.
    """

    model: Autoencoder
    params: Params
    step: int  # optimizer steps since the start of training
    config: TrainConfig
    metadata: Metadata  # of the run
    checkpoint: Path  # or weights file
    test_mse: float | None = None  # as measured after the last epoch; None if there was none, or training went on

    def encode(self, images: AnyBatch) -> Any:
        """Encode `u8[n, 28, 28, 1]`, or `f32[n, 28, 28, 1]` in [0, 1].

        Returns:
          The latent codes, f32[n, d], or for conv-pool `PooledCode`.
        """
        return inference.encode(self.model, self.params, images)

    def encode_latents(self, images: AnyBatch) -> HostCodes:
        """Encode to `f32[n, d]` alone: the pooling positions of conv-pool, larger than the images, are not computed."""
        return inference.encode_latents(self.model, self.params, images)

    def decode(self, code: Any) -> FloatImages:
        """Decode to `f32[n, 28, 28, 1]` in [0, 1].

        Args:
          code: f32[n, d], or for conv-pool `PooledCode`, as from `encode`.
        """
        return inference.decode(self.model, self.params, code)

    def reconstruct(self, images: AnyBatch) -> FloatImages:
        """Encode and decode `u8[n, 28, 28, 1]`, or `f32[n, 28, 28, 1]` in [0, 1], to `f32[n, 28, 28, 1]` in [0, 1]."""
        return self.decode(self.encode(images))

    @property
    def source(self) -> str:
        """The checkpoint's path, or `pretrained:NAME`."""
        if pretrained.is_pretrained(self.checkpoint):
            return f"{pretrained.PREFIX}{self.checkpoint.stem}"
        return str(self.checkpoint)

    @property
    def run_dir(self) -> Path:
        """The default output directory.

        The run directory if the checkpoint is in its `checkpoints`, `runs/pretrained-NAME` for a pretrained model,
        otherwise the checkpoint's directory.
        """
        if pretrained.is_pretrained(self.checkpoint):
            return Path("runs", f"pretrained-{self.checkpoint.stem}")
        folder = self.checkpoint.parent
        return folder.parent if folder.name == "checkpoints" else folder

    @property
    def title(self) -> str:
        """The model, its dataset and the number of training steps."""
        dataset = dataset_title(self.metadata["dataset_used"] or "unknown data")
        return f"{self.config.arch} on {dataset}, step {self.step:,}"

    def find_dataset(self, name: str | None, **folders: PathLike | None) -> str:
        """Resolve `name`, by default the training dataset; `folders` as for `load_dataset`."""
        return find_dataset(name or self.metadata["dataset_used"] or "auto", **folders)

    def open_splits(self, name: str | None, **folders: PathLike | None) -> tuple[OpenDataset, OpenDataset]:
        """Open a dataset, by default the training dataset; `folders` as for `load_dataset`.

        Raises:
          InputError: the data are unavailable, or the training dataset no longer holds the same images.
        """
        datasets = open_splits(self.find_dataset(name, **folders), **folders)
        if self.metadata["dataset_sha256"] in (None, dataset_digest(*datasets)):
            return datasets
        if name is None:
            raise InputError(
                f"{datasets[0].name} does not hold the images that {self.source} was trained with; to use these "
                "nevertheless, or those of another file, give --dataset."
            )
        _log.info("%s holds other images than those that the run was trained with.", datasets[0].name)
        return datasets

    def figure_path(self, name: str) -> Path:
        """The default path of a figure of this checkpoint."""
        return self.run_dir / "figures" / f"{name}_step_{self.step:08d}.png"
