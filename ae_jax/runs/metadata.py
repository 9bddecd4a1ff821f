"""Run metadata (settings, versions, devices, dataset digest) and the rules for resuming."""

import dataclasses
import hashlib
import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import jax

from ae_jax.config import SharedConfig
from ae_jax.data.datasets import OpenDataset, is_array_file
from ae_jax.data.stored_images import segments
from ae_jax.errors import InputError, one_line
from ae_jax.parallel.mesh import compiler_options, xla_flags
from ae_jax.system.schema import conforms, type_name

# JSON types: "config", the settings; "dataset_used" and "dataset_sha256", the dataset; the environment: "versions",
# "devices_used", and what XLA compiles with, "xla_flags" and "compiler_options"; "resumed", for each time that the run
# was resumed the step and the environment.
Metadata: TypeAlias = dict[str, Any]
Config = TypeVar("Config", bound=SharedConfig)  # `TrainConfig` or `SweepConfig`

_DIGEST_IMAGES = 10_000  # hashed at a time
_PACKAGES = ("ae_jax", "jax", "jaxlib", "flax", "optax", "numpy")
_PROCESSES = {"distributed", "coordinator", "num_processes", "process_id"}
FOLDERS = ("run_dir", "data_dir", "manual_dir")  # settings that hold on this machine alone
_MAY_CHANGE = {"devices", "stream", "tensorboard", *FOLDERS} | _PROCESSES
_MISSING = object()
_RESUMED_TYPES = {"versions": dict[str, str], "devices_used": list[str] | None}
_COMPILER_TYPES = {"xla_flags": str, "compiler_options": dict[str, Any]}  # unknown to the first checkpoints
_TYPES = {
    "config": dict[str, Any],
    "dataset_used": str | None,
    "dataset_sha256": str | None,
    **_RESUMED_TYPES,
    "resumed": list[dict[str, Any]],
}


def new_metadata(config: SharedConfig, datasets: Iterable[OpenDataset], devices: Iterable[jax.Device]) -> Metadata:
    """The metadata of a new run."""
    train_set, test_set = datasets
    return {
        "config": config.as_json(),
        "dataset_used": train_set.name,
        "dataset_sha256": dataset_digest(train_set, test_set),
        **_environment(devices),
        "resumed": [],
    }


def imported_metadata(config: SharedConfig, source: str) -> Metadata:
    """The metadata of a run whose parameters come from a file; its first training adds dataset and devices."""
    unknown = {"dataset_used": None, "dataset_sha256": None, **_environment([]), "devices_used": None}
    return {"config": config.as_json(), "imported_from": source, **unknown, "resumed": []}


def portable_metadata(metadata: Metadata) -> Metadata:
    """The metadata for others: without folders and host names of the machine that trained, of a file only its name."""
    config = metadata["config"] | dict.fromkeys((*FOLDERS, "coordinator"))
    portable = {
        **_without_paths(metadata),
        "resumed": [_without_paths(each) for each in metadata["resumed"]],
        "config": {**config, "dataset": _without_folder(config.get("dataset"))},
        "dataset_used": _without_folder(metadata["dataset_used"]),
    }
    if "imported_from" in metadata:
        portable["imported_from"] = one_line(Path(str(metadata["imported_from"])).name)
    return portable


def is_untrained(metadata: Metadata) -> bool:
    """Whether the run was imported and has not been trained yet."""
    return metadata["dataset_used"] is None


def with_dataset(metadata: Metadata, train_set: OpenDataset, test_set: OpenDataset, run_dir: Path) -> Metadata:
    """The metadata of a run that resumes with these images.

    Raises:
      InputError: the run was started with other images.
    """
    digest = dataset_digest(train_set, test_set)
    if metadata["dataset_sha256"] not in (digest, None):
        raise InputError(
            f"{train_set.name} does not hold the images that the run in {run_dir} was started with; pass the file that "
            "does as --dataset, or start a new run."
        )
    return {**metadata, "dataset_used": train_set.name, "dataset_sha256": digest}


def resumed_metadata(metadata: Metadata, config: SharedConfig, step: int, devices: Iterable[jax.Device]) -> Metadata:
    """The metadata of a run that resumes after `step` optimizer steps, with the settings of `resumed_config`."""
    resumed = [*metadata["resumed"], {"step": step, **_environment(devices)}]
    return {**metadata, "config": config.as_json(), "resumed": resumed}


def check_metadata(metadata: Any, source: Path) -> Metadata:
    """Return `metadata` of a checkpoint `source` if it has the keys and types of `new_metadata`, else `InputError`."""
    if not isinstance(metadata, dict):
        raise InputError(f"the metadata in {source} are no mapping; give a checkpoint of ae_jax.")
    for name, hint in _TYPES.items():
        if not conforms(metadata.get(name, _MISSING), hint):
            raise InputError(f"{name} in {source} is not of type {type_name(hint)}; give a checkpoint of ae_jax.")
    for resumed in metadata["resumed"]:
        if not all(conforms(resumed.get(name, _MISSING), hint) for name, hint in _RESUMED_TYPES.items()):
            raise InputError(f"resumed in {source} lacks step, versions or devices; give a checkpoint of ae_jax.")
    for environment in (metadata, *metadata["resumed"]):
        for name in _COMPILER_TYPES.keys() & environment.keys():
            if not conforms(environment[name], _COMPILER_TYPES[name]):
                expected = type_name(_COMPILER_TYPES[name])
                raise InputError(f"{name} in {source} is not of type {expected}; give a checkpoint of ae_jax.")
    return metadata


def config_from_metadata(metadata: Metadata, kind: type[Config]) -> Config:
    """The settings that a run was started with.

    Raises:
      InputError: this version of the package does not know them, or they are invalid.
    """
    try:
        return kind(**{"validation": 0, **metadata["config"]})  # the first versions held no images out
    except TypeError as error:
        raise InputError(f"another version of ae_jax wrote this run: {error}.") from error
    except InputError as error:
        raise InputError(f"the settings of this run are invalid: {error}") from error


def resumed_config(metadata: Metadata, settings: Mapping[str, Any], kind: type[Config]) -> Config:
    """The run's own settings, with more epochs or other devices where `settings` say so.

    Only `settings` name the data folders: the checkpoint may be a stranger's. They may also name the file of the images
    if it has moved. For a run that was imported and not trained yet, `settings` may change everything but the model.

    Raises:
      InputError: another of the `settings` differs from the run's, or another version of the package wrote the run.
    """
    recorded: Any = config_from_metadata(metadata, kind)
    own = dataclasses.replace(recorded, **dict.fromkeys(FOLDERS))
    given = dataclasses.replace(own, **settings)
    may_change = _MAY_CHANGE
    if is_untrained(metadata):
        may_change = settings.keys() - {"arch", "latent_dim", "output"} | _MAY_CHANGE
    if is_array_file(own.dataset) and is_array_file(given.dataset):
        may_change = may_change | {"dataset"}
    for name in settings.keys() - may_change:
        value, own_value = getattr(given, name), getattr(own, name)
        is_same = value == own_value or (name == "dataset" and value == metadata["dataset_used"])
        if not is_same and not (name == "epochs" and value > own_value):
            rule = ", which only a larger number extends" if name == "epochs" else ""
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{flag} {value} contradicts the run's {own_value}{rule}; leave it out, or start a new run."
            )
    changed = settings.keys() & (may_change | {"epochs"})
    return dataclasses.replace(own, **{name: getattr(given, name) for name in changed})


def environment_changes(metadata: Metadata, devices: Iterable[jax.Device]) -> list[str]:
    """The changes of versions, devices and compiler options that make a resumed run differ in bits."""
    before, now = (metadata["resumed"] or [metadata])[-1], _environment(devices)
    if before["devices_used"] is None:  # not trained yet
        return []
    changes = [
        f"{name} {now['versions'][name]} instead of {before['versions'].get(name)}"
        for name in ("jax", "jaxlib", "flax", "optax")
        if now["versions"][name] != before["versions"].get(name)
    ]
    if now["devices_used"] != before["devices_used"]:
        changes.append(f"{_describe(now['devices_used'])} instead of {_describe(before['devices_used'])}")
    elif now["compiler_options"] != before.get("compiler_options", now["compiler_options"]):
        changes.append(f"compiler options {now['compiler_options']} instead of {before['compiler_options']}")
    if now["xla_flags"] != before.get("xla_flags", now["xla_flags"]):
        changes.append(f"XLA_FLAGS {now['xla_flags']} instead of {before['xla_flags'] or 'none'}")
    return changes


def dataset_digest(train_set: OpenDataset, test_set: OpenDataset) -> str:
    """A SHA-256 digest of all images, to check that a resumed run has the images that it was started with."""
    digest = hashlib.sha256()
    for dataset in (train_set, test_set):
        digest.update(str(dataset.images.shape).encode())
        for images in segments(dataset.images, _DIGEST_IMAGES):
            digest.update(images.tobytes())
    return digest.hexdigest()


def _without_paths(environment: Metadata) -> Metadata:
    """An environment without the XLA flags that name files, such as `--xla_dump_to=/home/…`."""
    if "xla_flags" not in environment:
        return environment
    flags = [flag for flag in environment["xla_flags"].split() if not re.search(r"[/\\]", flag)]
    return {**environment, "xla_flags": " ".join(flags)}


def _without_folder(dataset: str | None) -> str | None:
    return one_line(Path(dataset).name) if dataset and is_array_file(dataset) else dataset


def _environment(devices: Iterable[jax.Device]) -> Metadata:
    devices = list(devices)
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "devices_used": [str(device) for device in devices],
        "xla_flags": xla_flags(),
        "compiler_options": compiler_options(devices),
    }


def _describe(devices: list[str]) -> str:
    return f"{len(devices)} device{'s' if len(devices) > 1 else ''} ({', '.join(devices)})"
