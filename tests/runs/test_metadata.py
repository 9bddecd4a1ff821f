import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from ae_jax.config import Interval, TrainConfig
from ae_jax.data.datasets import OpenDataset
from ae_jax.errors import InputError
from ae_jax.runs.metadata import (
    check_metadata,
    dataset_digest,
    environment_changes,
    imported_metadata,
    new_metadata,
    portable_metadata,
    resumed_config,
    resumed_metadata,
)

CONFIG = TrainConfig("linear", epochs=3, checkpoint_every=Interval(7, "steps"), seed=2)
DATA = [OpenDataset("own.npy", np.full((n, 28, 28, 1), n, np.uint8), None) for n in (3, 2)]


def test_portable_metadata_name_no_folder_or_host() -> None:
    metadata = new_metadata(dataclasses.replace(CONFIG, dataset="/secret/own.npy", run_dir="/secret"), DATA, [])
    metadata |= {"dataset_used": "/secret/own.npy", "xla_flags": "--a=1 --xla_dump_to=/secret"}
    metadata = resumed_metadata(metadata, CONFIG, 3, [])
    metadata["config"] |= {"dataset": "/secret/own.npy", "coordinator": "secret:1234"}
    metadata["resumed"][0]["xla_flags"] = "--xla_dump_to=C:\\secret"
    portable = portable_metadata(metadata)
    assert "secret" not in json.dumps(portable)
    assert portable["xla_flags"] == "--a=1"
    assert portable["dataset_used"] == portable["config"]["dataset"] == "own.npy"
    assert check_metadata(portable, Path("file")) == portable


def test_a_run_resumes_with_its_own_settings() -> None:
    metadata = new_metadata(CONFIG, DATA, jax.devices()[:1])
    assert resumed_config(metadata, {}, TrainConfig) == CONFIG
    assert resumed_config(metadata, {"checkpoint_every": "7steps", "seed": 2}, TrainConfig) == CONFIG


def test_epochs_devices_and_folders_may_change() -> None:
    metadata = new_metadata(CONFIG, DATA, jax.devices()[:1])
    changes = {"epochs": 5, "devices": 2, "stream": True, "data_dir": "elsewhere"}
    assert resumed_config(metadata, changes, TrainConfig) == dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize("settings", [{"epochs": 2}, {"seed": 3}, {"checkpoint_every": "7"}, {"arch": "conv"}])
def test_another_setting_is_an_error_with_both_values(settings: dict[str, object]) -> None:
    metadata = new_metadata(CONFIG, DATA, jax.devices()[:1])
    ((name, value),) = settings.items()
    message = f"--{name.replace('_', '-')} {value} contradicts the run's {getattr(CONFIG, name)}"
    with pytest.raises(InputError, match=message):
        resumed_config(metadata, settings, TrainConfig)


def test_an_imported_run_may_change_everything_but_its_model() -> None:
    metadata = imported_metadata(CONFIG, "weights.safetensors")
    assert resumed_config(metadata, {"seed": 3, "epochs": 1}, TrainConfig).seed == 3
    with pytest.raises(InputError, match="--latent-dim 5 contradicts the run's None"):
        resumed_config(metadata, {"latent_dim": 5}, TrainConfig)


def test_settings_of_another_version_are_an_error() -> None:
    metadata = new_metadata(CONFIG, DATA, [])
    metadata["config"]["dropout"] = 0.5
    with pytest.raises(InputError, match=r"another version of ae_jax wrote this run: .*dropout"):
        resumed_config(metadata, {}, TrainConfig)


def test_digest_covers_every_image_and_their_order() -> None:
    train, test = DATA
    swapped = dataclasses.replace(train, images=train.images[::-1] + np.arange(3, dtype=np.uint8)[:, None, None, None])
    digests = {dataset_digest(train, test), dataset_digest(test, train), dataset_digest(swapped, test)}
    assert len(digests) == 3


def test_changes_of_versions_and_devices_are_reported() -> None:
    metadata = new_metadata(CONFIG, DATA, jax.devices()[:1])
    assert environment_changes(metadata, jax.devices()[:1]) == []
    metadata["versions"]["flax"] = "0.1"
    assert "instead of 0.1" in environment_changes(metadata, jax.devices()[:1])[0]
    resumed = resumed_metadata(metadata, CONFIG, 10, [])
    *_, device_change = environment_changes(metadata, [])
    assert "0 device" in device_change
    assert environment_changes(resumed, []) == []


def test_what_xla_compiles_with_is_recorded_and_changes_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    metadata = new_metadata(CONFIG, DATA, jax.devices("cpu")[:1])
    assert "--xla_cpu_enable_fast_math=true" in metadata["xla_flags"]
    assert metadata["compiler_options"]["xla_cpu_prefer_vector_width"] == 512
    monkeypatch.delenv("XLA_FLAGS")
    (change,) = environment_changes(metadata, jax.devices("cpu")[:1])
    assert re.fullmatch(r"XLA_FLAGS --xla_\S+ instead of --xla_cpu_enable_fast_math=true --xla_\S+", change)
    before = {name: value for name, value in metadata.items() if name not in ("xla_flags", "compiler_options")}
    assert environment_changes(before, jax.devices("cpu")[:1]) == []  # of a version that did not record them
    assert check_metadata(before, Path("run")) == before
    with pytest.raises(InputError, match=r"compiler_options in run is not of type"):
        check_metadata({**metadata, "compiler_options": ["fast"]}, Path("run"))
