"""What a run was begun with, and what it may be continued with."""

import dataclasses
import hashlib
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import jax

from ae_jax.data.datasets import OpenDataset
from ae_jax.data.stored_images import pieces
from ae_jax.errors import InputError

# Of JSON's types: "config", the settings; "dataset_used" and "dataset_sha256", what it really trains on; "versions";
# "devices_used"; "resumed", for each time that it was continued the step, versions and devices.
Record: TypeAlias = dict[str, Any]
Config = TypeVar("Config")  # the dataclass of a run's settings, or of a sweep's

_PIECE = 10_000  # images at a time
_PACKAGES = ("ae_jax", "jax", "jaxlib", "flax", "optax", "numpy")
_PROCESSES = {"distributed", "coordinator", "num_processes", "process_id"}
_MAY_CHANGE = {"devices", "stream", "tensorboard", "run_dir", "data_dir", "manual_dir"} | _PROCESSES


def new_record(config: Any, datasets: Iterable[OpenDataset], devices: Iterable[jax.Device]) -> Record:
    """The record of a run that begins."""
    train_set, test_set = datasets
    return {
        "config": dataclasses.asdict(config),
        "dataset_used": train_set.name,
        "dataset_sha256": dataset_digest(train_set, test_set),
        **_here(devices),
        "resumed": [],
    }


def imported_record(config: Any, source: str) -> Record:
    """The record of a run whose parameters come from a file; its images and devices are those of its first training."""
    nowhere = {"dataset_used": None, "dataset_sha256": None, **_here([]), "devices_used": None}
    return {"config": dataclasses.asdict(config), "imported_from": source, **nowhere, "resumed": []}


def is_untrained(record: Record) -> bool:
    """Whether a run was imported, and nothing has been trained yet."""
    return record["dataset_used"] is None


def on_dataset(record: Record, train_set: OpenDataset, test_set: OpenDataset, run_dir: Path) -> Record:
    """The record of a run that goes on with these images.

    Raises:
      InputError: it was begun with others.
    """
    digest = dataset_digest(train_set, test_set)
    if record["dataset_sha256"] not in (digest, None):
        raise InputError(f"{train_set.name} no longer holds the images that the run in {run_dir} was begun with.")
    return {**record, "dataset_used": train_set.name, "dataset_sha256": digest}


def continued(record: Record, config: Any, step: int, devices: Iterable[jax.Device]) -> Record:
    """The record of a run that goes on after `step` optimizer steps, with the settings of `continued_config`."""
    resumed = [*record["resumed"], {"step": step, **_here(devices)}]
    return {**record, "config": dataclasses.asdict(config), "resumed": resumed}


def recorded_config(record: Record, kind: type[Config]) -> Config:
    """The settings, of that `kind`, that a run was begun with.

    Raises:
      InputError: this version of the package does not know them.
    """
    try:
        return kind(**record["config"])
    except TypeError as error:
        raise InputError(f"another version of ae_jax wrote this run: {error}.") from error


def continued_config(record: Record, settings: Mapping[str, Any], kind: type[Config]) -> Config:
    """The run's own settings, with more epochs, other devices or other folders where `settings` say so.

    Of a run that was imported and not trained yet, `settings` may say all but what the model is.

    Raises:
      InputError: another of the `settings` is not the run's, or another version of the package began it.
    """
    config: Any = recorded_config(record, kind)
    if is_untrained(record):  # all but the model can still be chosen
        chosen = settings.keys() - {"arch", "latent_dim", "output"}
        config = dataclasses.replace(config, **{name: settings[name] for name in chosen})
    config = dataclasses.replace(config, **{name: settings[name] for name in _MAY_CHANGE & settings.keys()})
    for name in settings.keys() - _MAY_CHANGE:
        given, own = settings[name], getattr(config, name)
        if name == "epochs" and given > own:
            config = dataclasses.replace(config, epochs=given)
        elif given != own and not (name == "dataset" and given == record["dataset_used"]):
            rule = ", which only a larger number extends" if name == "epochs" else ""
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} {given} contradicts the run's {own}{rule}; leave it out, or start a new run.")
    return config


def what_differs(record: Record, devices: Iterable[jax.Device]) -> list[str]:
    """What makes the rest of the run differ in bits from an uninterrupted one, as parts of a sentence."""
    before, now = (record["resumed"] or [record])[-1], _here(devices)
    if before["devices_used"] is None:  # nothing has been trained yet
        return []
    differences = [
        f"{name} {now['versions'][name]} instead of {before['versions'].get(name)}"
        for name in ("jax", "jaxlib", "flax", "optax")
        if now["versions"][name] != before["versions"].get(name)
    ]
    if now["devices_used"] != before["devices_used"]:
        differences.append(f"{_describe(now['devices_used'])} instead of {_describe(before['devices_used'])}")
    return differences


def dataset_digest(train_set: OpenDataset, test_set: OpenDataset) -> str:
    """A digest of all images, to see that a run goes on with those that it began with."""
    digest = hashlib.sha256()
    for dataset in (train_set, test_set):
        digest.update(str(dataset.images.shape).encode())
        for piece in pieces(dataset.images, _PIECE):
            digest.update(piece.tobytes())
    return digest.hexdigest()


def _here(devices: Iterable[jax.Device]) -> Record:
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "devices_used": [str(device) for device in devices],
    }


def _describe(devices: list[str]) -> str:
    return f"{len(devices)} device{'s' if len(devices) > 1 else ''} ({', '.join(devices)})"
