"""A trained model from a run directory or a checkpoint: what everything after training begins with."""

import dataclasses
from pathlib import Path

import jax
from jax import numpy as jnp

from ae_jax.config import TrainConfig
from ae_jax.data.datasets import dataset_title, find_dataset
from ae_jax.errors import DamagedFileError, InputError
from ae_jax.models.autoencoders import Autoencoder
from ae_jax.runs.checkpoints import latest_checkpoint
from ae_jax.runs.metadata import Metadata, config_from_metadata
from ae_jax.runs.setup import run_model
from ae_jax.training.checkpoint import read_params
from ae_jax.types import Params, PathLike


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model with the parameters that a run has come to.

    `model.apply({"params": params}, images)` maps `f32[n, 28, 28, 1]` in [0, 1] to the same.
    """

    model: Autoencoder
    params: Params
    step: int  # optimizer steps that the run had taken
    config: TrainConfig
    metadata: Metadata  # what the run was begun with
    checkpoint: Path

    @property
    def run_dir(self) -> Path:
        """Where the run is, as far as the checkpoint still lies in it."""
        folder = self.checkpoint.parent
        return folder.parent if folder.name == "checkpoints" else folder

    @property
    def title(self) -> str:
        """The model, what it was trained on and for how long."""
        dataset = dataset_title(self.metadata["dataset_used"] or "unknown data")
        return f"{self.config.arch} on {dataset}, step {self.step:,}"

    def find_dataset(self, name: str | None, **folders: PathLike | None) -> str:
        """The dataset that is asked for, by default the one that it was trained on; `folders` as for `load_dataset`."""
        return find_dataset(name or self.metadata["dataset_used"] or "auto", **folders)

    def figure_path(self, name: str) -> Path:
        """Where a picture of this checkpoint belongs."""
        return self.run_dir / "figures" / f"{name}_step_{self.step:08d}.png"


def load_model(path: PathLike) -> TrainedModel:
    """The model in a run directory, of its newest sound checkpoint, or in a checkpoint of a run.

    Raises:
      DamagedFileError: the checkpoint is not what was written.
      InputError: there is no checkpoint, it cannot be read, is none of a run, or another version wrote it.
    """
    try:
        checkpoint = _find(Path(path))
        params, step, info = read_params(checkpoint)
    except DamagedFileError as error:
        raise DamagedFileError(f"{error} Give a run directory or one of its checkpoints.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a run directory or a checkpoint.") from error
    if "sweep" in info:
        raise InputError(f"{path} is a sweep; give its folder best, or one of the files in its folder members.")
    if "record" not in info:
        raise InputError(f"{checkpoint} is a state without its run's settings; ae_jax.load_checkpoint reads it.")
    config = config_from_metadata(info["record"], TrainConfig)
    model = run_model(config)
    expected = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    if _shapes(params) != _shapes(expected):
        raise InputError(f"{checkpoint} does not hold the parameters of the model in its settings, {config.arch}.")
    return TrainedModel(model, params, step, config, info["record"], checkpoint)


def _find(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path} does not exist; give a run directory or one of its checkpoints.")
    if not path.is_dir():
        return path
    checkpoint = latest_checkpoint(path)
    if checkpoint is None:
        raise InputError(f"{path} holds no checkpoint; give a run directory or one of its checkpoints.")
    return checkpoint


def _shapes(params: Params) -> dict[str, tuple[tuple[int, ...], str]]:
    leaves, _ = jax.tree.flatten_with_path(params)
    return {jax.tree_util.keystr(path): (leaf.shape, str(leaf.dtype)) for path, leaf in leaves}
