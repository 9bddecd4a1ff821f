"""Metadata of a run (settings, versions, devices, dataset digest) and the rules for resuming."""

import dataclasses
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, TypeAlias

import jax
from jax.sharding import Mesh

from ae_jax.config import SharedConfig, TrainConfig
from ae_jax.data.datasets import is_array_file
from ae_jax.errors import InputError
from ae_jax.runs.setup import Splits
from ae_jax.training.checkpoint import Checkpoint

# JSON types: "config", the settings; "dataset_used" and "dataset_sha256"; "versions" and "devices_used"; "resumed", for
# each time that the run was resumed the step, the versions and the devices.
Metadata: TypeAlias = dict[str, Any]

_PACKAGES = ("ae_jax", "jax", "jaxlib", "flax", "optax", "numpy")
FOLDERS = ("run_dir", "data_dir", "manual_dir")  # settings that hold on this machine alone
_MAY_CHANGE = {"devices", "tensorboard", "distributed", *FOLDERS}
_MODEL = {"arch", "latent_dim", "hidden", "activation", "output"}  # what imported parameters determine


def new_metadata(config: SharedConfig, data: Splits, mesh: Mesh) -> Metadata:
    """The metadata of a new run."""
    used = {"dataset_used": data.train.name, "dataset_sha256": data.digest}
    return {"config": dataclasses.asdict(config), **used, **_environment(mesh.devices.flat), "resumed": []}


def imported_metadata(config: SharedConfig, source: str) -> Metadata:
    """The metadata of a run whose parameters come from a file; its first training adds dataset and devices."""
    unknown = {"dataset_used": None, "dataset_sha256": None, **_environment([]), "devices_used": None}
    return {"config": dataclasses.asdict(config), "imported_from": source, **unknown, "resumed": []}


def resumed_metadata(config: TrainConfig, data: Splits, mesh: Mesh, start: Checkpoint) -> Metadata:
    """The metadata of a run that resumes from a checkpoint; raises `InputError` if it had other images."""
    before = run_metadata(start)
    if before["dataset_sha256"] not in (data.digest, None):
        raise InputError(
            f"{data.train.name} does not hold the images that the run in {config.run_dir} was started with; give the "
            "file that does as `dataset`, or start a new run."
        )
    new, environment = new_metadata(config, data, mesh), _environment(mesh.devices.flat)
    if before["dataset_used"] is not None:  # otherwise imported, and trained for the first time
        new |= {name: before[name] for name in environment}
    return {**before, **new, "resumed": [*before["resumed"], {"step": start.step, **environment}]}


def run_metadata(checkpoint: Checkpoint) -> Metadata:
    """The metadata of the run that wrote a checkpoint; raises `InputError` if `save_checkpoint` alone wrote it."""
    if "run" not in checkpoint.info:
        raise InputError(f"{checkpoint.path} is a state without a run's settings; use ae_jax.load_checkpoint.")
    return checkpoint.info["run"]


def config_from_metadata(metadata: Metadata) -> TrainConfig:
    """The settings of a run; raises `InputError` if this version of the package does not know them."""
    try:
        return TrainConfig(**metadata["config"])
    except TypeError as error:
        raise InputError(f"another version of ae_jax wrote this run: {error}.") from error


def resumed_config(metadata: Metadata, settings: Mapping[str, Any]) -> TrainConfig:
    """The run's own settings, with more epochs, other devices or other folders where `settings` say so.

    For a run that was imported and not trained yet, `settings` may change everything but the model; otherwise one that
    differs from the run's is an `InputError`.
    """
    own = config_from_metadata(metadata)
    used = metadata["dataset_used"] or own.dataset  # what "auto" stood for
    own = dataclasses.replace(own, dataset=used, run_dir=None, data_dir=None, manual_dir=None)
    given = dataclasses.replace(own, **settings)
    may_change = _MAY_CHANGE | {"epochs"}
    if metadata["dataset_used"] is None:
        may_change |= settings.keys() - _MODEL
    elif given.epochs < own.epochs:
        raise InputError(f"`epochs` {given.epochs} is less than the run's {own.epochs}, which may only grow.")
    if settings.get("dataset") == metadata["config"]["dataset"]:  # "auto" again
        given = dataclasses.replace(given, dataset=own.dataset)
    if is_array_file(own.dataset) and is_array_file(given.dataset):  # it may have moved
        may_change |= {"dataset"}
    for name in settings.keys() - may_change:
        if (value := getattr(given, name)) != (own_value := getattr(own, name)):
            raise InputError(f"`{name}` {value} contradicts the run's {own_value}; leave it out, or start a new run.")
    return given


def environment_changes(metadata: Metadata) -> list[str]:
    """The versions and devices that changed on resuming: the bits may differ from an uninterrupted run's."""
    before, now = ([metadata] * 2 + metadata["resumed"])[-2:]
    libraries = ("jax", "jaxlib", "flax", "optax")
    changes = {name: (now["versions"][name], before["versions"].get(name)) for name in libraries}
    changes["devices"] = (now["devices_used"], before["devices_used"])
    return [f"{name} {new} instead of {old}" for name, (new, old) in changes.items() if new != old]


def _environment(devices: Iterable[jax.Device]) -> Metadata:
    versions = {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
    return {"versions": versions, "devices_used": [str(device) for device in devices]}
