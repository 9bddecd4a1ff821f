"""Loading of a trained model from a run directory or a checkpoint."""

import dataclasses
import logging
from pathlib import Path

import jax
from jax import numpy as jnp

from ae_jax.config import TrainConfig
from ae_jax.data.datasets import OpenDataset, dataset_title, find_dataset, open_splits
from ae_jax.errors import DamagedFileError, InputError, reason
from ae_jax.models.autoencoders import Autoencoder
from ae_jax.parallel.mesh import find_devices
from ae_jax.runs.checkpoint_files import latest_checkpoint
from ae_jax.runs.metadata import Metadata, check_metadata, config_from_metadata, dataset_digest
from ae_jax.runs.setup import run_model
from ae_jax.training.checkpoint import read_params, shapes
from ae_jax.types import Params, PathLike

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model with the trained parameters of a run.

    `model.apply({"params": params}, images)` maps `f32[n, 28, 28, 1]` in [0, 1] to the same.
    """

    model: Autoencoder
    params: Params
    step: int  # optimizer steps since the start of training
    config: TrainConfig
    metadata: Metadata  # of the run
    checkpoint: Path

    @property
    def run_dir(self) -> Path:
        """The run directory if the checkpoint is in its `checkpoints`, otherwise the checkpoint's directory."""
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
                f"{datasets[0].name} does not hold the images that {self.checkpoint} was trained with; to use these "
                "nevertheless, or those of another file, give --dataset."
            )
        _log.info("%s holds other images than those that the run was trained with.", datasets[0].name)
        return datasets

    def figure_path(self, name: str) -> Path:
        """The default path of a figure of this checkpoint."""
        return self.run_dir / "figures" / f"{name}_step_{self.step:08d}.png"


def load_model(path: PathLike) -> TrainedModel:
    """Load the model from a checkpoint, or from the newest valid checkpoint of a run directory.

    Raises:
      DamagedFileError: the checkpoint is corrupt.
      InputError: there is no checkpoint of a run, it cannot be read, another version of ae_jax wrote it, or JAX finds
        no device.
    """
    try:
        checkpoint = _find_checkpoint(Path(path))
        find_devices()  # reading parameters is the first use of JAX
        params, step, info = read_params(checkpoint)
    except DamagedFileError as error:
        raise DamagedFileError(f"{error} Give a run directory or one of its checkpoints.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); give a run directory or a checkpoint.") from error
    if "sweep" in info:
        raise InputError(f"{path} is a sweep; give its directory best, or one of the files in its directory members.")
    if "record" not in info:
        raise InputError(f"{checkpoint} is a state without its run's settings; read it with ae_jax.load_checkpoint.")
    metadata = check_metadata(info["record"], checkpoint)
    config = config_from_metadata(metadata, TrainConfig)
    model = run_model(config)
    expected = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1), jnp.float32))["params"]
    if shapes(params) != shapes(expected):
        raise InputError(f"{checkpoint} does not hold the parameters of its model, {config.arch}; give another one.")
    if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise InputError(f"{checkpoint} holds parameters that are not finite; give another one.")
    return TrainedModel(model, params, step, config, metadata, checkpoint)


def _find_checkpoint(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path} does not exist; give a run directory or one of its checkpoints.")
    if not path.is_dir():
        return path
    if (checkpoint := latest_checkpoint(path)) is None:
        raise InputError(f"{path} holds no checkpoint; give a run directory or one of its checkpoints.")
    return checkpoint
