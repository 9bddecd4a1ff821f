"""A trained model: what it computes, and how it is loaded from a run, a checkpoint, a weights file or the package."""

import dataclasses
import functools
import logging
import operator
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ae_jax import models
from ae_jax.config import TrainConfig
from ae_jax.data.batching import to_float
from ae_jax.data.datasets import Dataset, dataset_digest, dataset_title, load_splits
from ae_jax.errors import InputError
from ae_jax.models.autoencoders import Autoencoder, PooledCode
from ae_jax.models.torch_weights import params_from_torch
from ae_jax.parallel.mesh import find_devices
from ae_jax.runs.metadata import Metadata, config_from_metadata, run_metadata
from ae_jax.runs.setup import run_model
from ae_jax.tensorfile import read_tensors
from ae_jax.training.checkpoint import Checkpoint, read_checkpoint, read_latest_checkpoint
from ae_jax.types import HostCodes, HostImages, Images, Params, PathLike, Pixels

PRETRAINED = ("linear", "conv", "conv-pool")
_PREFIX = "pretrained:"  # of their names where a run is expected
_PRETRAINED_DIR = Path(models.__path__[0]) / "pretrained"
_SOURCES = f"a run directory, one of its checkpoints, or {_PREFIX}{{{','.join(PRETRAINED)}}}"
_WEIGHTS = "model.safetensors"  # in a folder made by `share`
WEIGHTS_FORMAT = "ae_jax/weights/2"
_CHUNK = 256  # images per call, few enough for the CPU caches
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

    def encode(self, images: Images | Pixels) -> Any:
        """Encode `u8[n, 28, 28, 1]`, or `f32` in [0, 1], else ValueError, to `f32[n, d]`, conv-pool to `PooledCode`."""
        return self._map("encode", _checked(images))

    def encode_latents(self, images: Images | Pixels) -> HostCodes:
        """Encode to `f32[n, d]` alone: the pooling positions of conv-pool, larger than the images, are not computed."""
        return self._map(_encode_latents, _checked(images))

    def decode(self, code: Any) -> HostImages:
        """Decode `f32[n, d]`, or for conv-pool `PooledCode`, as from `encode`, to `f32[n, 28, 28, 1]` in [0, 1]."""
        return self._map("decode", code)

    def reconstruct(self, images: Images | Pixels) -> HostImages:
        """Encode and decode `u8[n, 28, 28, 1]`, or `f32[n, 28, 28, 1]` in [0, 1], to `f32[n, 28, 28, 1]` in [0, 1]."""
        return self.decode(self.encode(images))

    @property
    def source(self) -> str:
        """The checkpoint's path, or `pretrained:NAME`."""
        return f"{_PREFIX}{self.checkpoint.stem}" if self._is_pretrained else str(self.checkpoint)

    @property
    def run_dir(self) -> Path:
        """The default output directory: the run's, `runs/pretrained-NAME`, or that of a checkpoint on its own."""
        if self._is_pretrained:
            return Path("runs", f"pretrained-{self.checkpoint.stem}")
        folder = self.checkpoint.parent
        return folder.parent if folder.name == "checkpoints" else folder

    @property
    def dataset(self) -> str:
        """The title of the dataset that it was trained with."""
        return dataset_title(self.metadata["dataset_used"] or "unknown data")

    @property
    def title(self) -> str:
        """The model, its dataset and the number of training steps."""
        return f"{self.config.arch} on {self.dataset}, step {self.step:,}"

    def load_splits(self, name: str | None = None, **folders: PathLike | None) -> tuple[Dataset, Dataset]:
        """Load a dataset, by default the training dataset; `folders` and errors as for `load_dataset`.

        An `InputError` also if the training dataset no longer holds the same images.
        """
        splits = load_splits(name or self.metadata["dataset_used"] or "auto", **folders)
        if self.metadata["dataset_sha256"] in (None, dataset_digest(*splits)):
            return splits
        if name is None:
            raise InputError(
                f"{splits[0].name} does not hold the images that {self.source} was trained with; to use these "
                "nevertheless, or those of another file, give `dataset`."
            )
        _log.info("%s holds other images than those that the run was trained with.", splits[0].name)
        return splits

    def load_test_set(self, name: str | None = None, **folders: PathLike | None) -> Dataset:
        """The test split of `load_splits`; raises `InputError` if it has only one image, which makes no figure."""
        test_set = self.load_splits(name, **folders)[1]
        if len(test_set.images) < 2:
            raise InputError(f"{test_set.name} has only one test image; give a dataset with at least two.")
        return test_set

    def figure_path(self, name: str) -> Path:
        """The default path of a figure of this checkpoint."""
        return self.run_dir / "figures" / f"{name}_step_{self.step:08d}.png"

    def _map(self, method: str | Callable[..., Any], batch: Any) -> Any:
        return _in_chunks(functools.partial(_apply, self.model, method, self.params), batch)

    @property
    def _is_pretrained(self) -> bool:
        return self.checkpoint.parent == _PRETRAINED_DIR


def load_pretrained(name: str) -> TrainedModel:
    """Load a model that comes with the package, trained on MNIST: "linear", "conv" or "conv-pool". It needs no network.

    `metadata` holds the settings, versions, dataset digest and seed that it was trained with, the command that did it,
    and `test_mse`, its mean squared error on MNIST's test images.

    >>> trained = ae_jax.load_pretrained("linear")
    >>> trained.encode(np.zeros((5, 28, 28, 1), np.uint8)).shape
    (5, 3)

    Raises:
      InputError: no pretrained model is called `name`, or JAX finds no device.
    """
    if name not in PRETRAINED:
        raise InputError(f"there is no pretrained model {name!r}; choose {', '.join(PRETRAINED)}.")
    return _load_file(_PRETRAINED_DIR / f"{name}.safetensors")


def load_model(path: PathLike) -> TrainedModel:
    """Load the model from a checkpoint, or from the newest valid checkpoint of a run directory.

    Args:
      path: the checkpoint, the run directory, a weights file, or `pretrained:NAME` for `load_pretrained(NAME)`.

    Raises:
      CorruptFileError: the checkpoint cannot be read.
      InputError: there is no checkpoint of a run, another version of ae_jax wrote it, or JAX finds no device.
    """
    if (name := os.fspath(path)).startswith(_PREFIX):
        return load_pretrained(name.removeprefix(_PREFIX))
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; give {_SOURCES}.")
    file = path / _WEIGHTS if path.is_dir() else path
    if file.exists():
        return _load_file(file)
    if (checkpoint := read_latest_checkpoint(path)) is None:
        raise InputError(f"{path} holds no checkpoint; give {_SOURCES}.")
    return _load_checkpoint(checkpoint)


def latents(code: Any) -> Any:
    """The latent codes `f32[n, d]`, without the positions that a model with pooling adds."""
    return code.latents if isinstance(code, PooledCode) else code


def _load_file(path: Path) -> TrainedModel:
    tensors, info = read_tensors(path)
    if info.get("format") != WEIGHTS_FORMAT:
        return _load_checkpoint(read_checkpoint(path))
    config = config_from_metadata(info["run"])
    find_devices()  # making parameters is the first use of JAX
    model = run_model(config)
    params = params_from_torch(model, tensors)
    return TrainedModel(model, params, info["step"], config, info["run"], path, info["run"]["test_mse"])


def _load_checkpoint(checkpoint: Checkpoint) -> TrainedModel:
    metadata, history = run_metadata(checkpoint), checkpoint.info["history"]
    if history:
        metadata = {**metadata, "training_seconds": sum(each["seconds"] for each in history)}
    config, test_mse = config_from_metadata(metadata), history[-1]["test_loss"] if history else None
    find_devices()
    model, path = run_model(config), checkpoint.path
    return TrainedModel(model, checkpoint.params, checkpoint.step, config, metadata, path, test_mse)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(model: Autoencoder, method: str | Callable[..., Any], params: Params, batch: Any) -> Any:
    batch = to_float(batch) if getattr(batch, "dtype", None) == np.uint8 else batch
    return model.apply({"params": params}, batch, method=method)


def _checked(images: Images | Pixels) -> Images | Pixels:
    """The images; `ValueError` for floats outside [0, 1]."""
    low, high = (float(np.min(images)), float(np.max(images))) if images.dtype != np.uint8 and len(images) else (0, 1)
    if not (low >= 0 and high <= 1):
        raise ValueError(f"floats must be in [0, 1], not from {low:g} to {high:g}; rescale the images, or pass uint8")
    return images


def _encode_latents(model: Autoencoder, images: Images) -> Any:
    return latents(model.encode(images))


def _in_chunks(function: Any, batch: Any) -> Any:
    """Map `function` over chunks of `batch` and concatenate; the last chunk is padded to avoid another compilation."""
    n = len(jax.tree.leaves(batch)[0])
    if n == 0:
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(function, batch))
    size = min(_CHUNK, n)
    chunks = (np.minimum(np.arange(start, start + size), n - 1) for start in range(0, n, size))
    results = [jax.device_get(function(jax.tree.map(operator.itemgetter(rows), batch))) for rows in chunks]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *results)
