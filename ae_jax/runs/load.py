"""Loading of a trained model: from a run directory, a checkpoint or a weights file, or a pretrained one."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ae_jax.config import TrainConfig
from ae_jax.errors import DamagedFileError, InputError, reason
from ae_jax.models import pretrained
from ae_jax.models.autoencoders import Autoencoder, param_shapes
from ae_jax.models.torch_weights import params_from_torch
from ae_jax.parallel.mesh import find_devices
from ae_jax.runs.checkpoint_files import latest_checkpoint
from ae_jax.runs.metadata import check_metadata, config_from_metadata
from ae_jax.runs.progress import parse_history
from ae_jax.runs.setup import run_model
from ae_jax.runs.trained_model import TrainedModel
from ae_jax.runs.weights_file import is_weights_file, read_weights
from ae_jax.system.schema import conforms
from ae_jax.training.checkpoint import read_params, shapes
from ae_jax.types import Params, PathLike, StateDict

_PRETRAINED = ", ".join(pretrained.NAMES)
_SOURCES = f"a run directory, one of its checkpoints, or {pretrained.PREFIX}NAME, with a NAME out of {_PRETRAINED}"


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
    if name not in pretrained.NAMES:
        raise InputError(f"there is no pretrained model {name!r}; choose {_PRETRAINED}.")
    find_devices()
    return _load_weights(pretrained.weights_path(name))


def load_model(path: PathLike) -> TrainedModel:
    """Load the model from a checkpoint, or from the newest valid checkpoint of a run directory.

    Args:
      path: the checkpoint, the run directory, a weights file, or `pretrained:NAME` for `load_pretrained(NAME)`.

    Raises:
      DamagedFileError: the checkpoint is corrupt.
      InputError: there is no checkpoint of a run, it cannot be read, another version of ae_jax wrote it, or JAX finds
        no device.
    """
    if (name := os.fspath(path)).startswith(pretrained.PREFIX):
        return load_pretrained(name.removeprefix(pretrained.PREFIX))
    try:
        checkpoint = _find_checkpoint(Path(path))
        find_devices()  # reading parameters is the first use of JAX
        return (_load_weights if is_weights_file(checkpoint) else _load_checkpoint)(checkpoint)
    except DamagedFileError as error:
        raise DamagedFileError(f"{error} Give {_SOURCES}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); give {_SOURCES}.") from error


def _find_checkpoint(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path} does not exist; give {_SOURCES}.")
    if not path.is_dir():
        return path
    weights = path / "model.safetensors"
    if weights.exists() and not (path / "checkpoints").exists():  # a folder made by `share`
        return weights
    if (checkpoint := latest_checkpoint(path)) is None:
        raise InputError(f"{path} holds no checkpoint; give {_SOURCES}.")
    return checkpoint


def _load_weights(path: Path) -> TrainedModel:
    weights = read_weights(path)
    trained = _trained_model(path, weights.step, weights.metadata, functools.partial(_from_torch, weights.state_dict))
    mse = weights.metadata.get("test_mse")
    return dataclasses.replace(trained, test_mse=mse if conforms(mse, float) and math.isfinite(mse) else None)


def _from_torch(state_dict: StateDict, model: Autoencoder) -> Params:
    try:
        return params_from_torch(model, state_dict)
    except ValueError:
        return {}  # which `_trained_model` refuses


def _load_checkpoint(path: Path) -> TrainedModel:
    params, step, info = read_params(path)
    if "sweep" in info:
        raise InputError(f"{path} is a sweep; give its directory best, or one of the files in its directory members.")
    if "record" not in info:
        raise InputError(f"{path} is a state without its run's settings; read it with ae_jax.load_checkpoint.")
    trained = _trained_model(path, step, info["record"], lambda model: params)
    last = parse_history(info, float, path)[-1:] if "history" in info else ()
    return dataclasses.replace(trained, test_mse=last[0].test_loss if last and last[0].step == step else None)


def _trained_model(path: Path, step: int, metadata: Any, make_params: Callable[[Autoencoder], Params]) -> TrainedModel:
    metadata = check_metadata(metadata, path)
    config = config_from_metadata(metadata, TrainConfig)
    model = run_model(config)
    params = make_params(model)
    if shapes(params) != shapes(param_shapes(model)):
        raise InputError(f"{path} does not hold the parameters of its model, {config.arch}; give another one.")
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise InputError(f"{path} holds parameters that are not finite; give another one.")
    return TrainedModel(model, params, step, config, metadata, path)
