import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.data.datasets import is_prepared
from ae_jax.system.tensorfile import read_tensors, write_tensors
from tests.conftest import use_proxy


def test_unknown_dataset_error_lists_the_known_datasets() -> None:
    with pytest.raises(ae_jax.InputError, match=r"unknown dataset 'cifar'; choose auto, mnist, .*glyphs"):
        ae_jax.load_dataset("cifar")


@pytest.mark.usefixtures("unchecked")
def test_unknown_split_error_lists_the_known_splits() -> None:
    with pytest.raises(ae_jax.InputError, match="unknown split 'validation'; choose train or test"):
        ae_jax.load_dataset("glyphs", "validation")


@pytest.mark.usefixtures("environment")
def test_glyphs_are_identical_from_cache_and_in_a_new_process(data_dir: Path, tmp_path: Path) -> None:
    first = ae_jax.load_dataset("glyphs", "test")
    again = ae_jax.load_dataset("glyphs", "test")  # from the cache
    assert first.images.shape == (10_000, 28, 28, 1)
    assert first.labels.dtype == np.int32
    np.testing.assert_array_equal(first.images, again.images)
    program = (
        "import ae_jax, hashlib; d = ae_jax.load_dataset('glyphs', 'test');"
        "print(hashlib.sha256(d.images.tobytes() + d.labels.tobytes()).hexdigest())"
    )
    fresh = {**os.environ, "TFDS_DATA_DIR": str(tmp_path / "fresh")}
    start = subprocess.run([sys.executable, "-c", program], env=fresh, capture_output=True, text=True, check=True)
    assert start.stdout.strip() == hashlib.sha256(first.images.tobytes() + first.labels.tobytes()).hexdigest()


def test_corrupt_cache_is_reported_and_regenerated(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = ae_jax.load_dataset("glyphs", "test", data_dir=data_dir)
    cache = tmp_path / "ae_jax" / "glyphs-test.safetensors"
    cache.parent.mkdir()
    shutil.copy(data_dir / "ae_jax" / cache.name, cache)
    content = bytearray(cache.read_bytes())
    content[len(content) // 2] ^= 1
    cache.write_bytes(content)
    loaded = ae_jax.load_dataset("glyphs", "test", data_dir=tmp_path)
    np.testing.assert_array_equal(loaded.images, expected.images)
    assert f"{cache} is corrupt" in caplog.text
    assert cache.read_bytes() == (data_dir / "ae_jax" / "glyphs-test.safetensors").read_bytes()


def test_unwritable_data_directory_raises_an_error_naming_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ae_jax.InputError, match=r"file/ae_jax cannot be written .* --data-dir"):
        ae_jax.load_dataset("glyphs", "test", data_dir=tmp_path / "file")


@pytest.mark.usefixtures("environment", "offline")
def test_without_a_home_directory_only_paths_in_it_are_refused(
    own_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwd = pytest.importorskip("pwd", reason="needs the user database of Unix")

    def unknown(user: object) -> None:
        raise KeyError

    for name in ("HOME", "TFDS_DATA_DIR", "AE_JAX_MANUAL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    assert len(ae_jax.load_dataset(str(own_images)).images) > 0
    assert not is_prepared("fashion_mnist")
    for message, arguments in {
        "~/own.npy is in a home directory that does not exist; pass another --dataset": ("~/own.npy", {}),
        "~/tensorflow_datasets is in a home .*; pass another --data-dir": ("auto", {}),
        "~x/data is in a home .*; pass another --data-dir": ("glyphs", {"data_dir": "~x/data"}),
        "~x/files is in a home .*; pass another --manual-dir": (
            "mnist",
            {"data_dir": tmp_path, "manual_dir": "~x/files"},
        ),
    }.items():
        name, folders = arguments
        with pytest.raises(ae_jax.InputError, match=message):
            ae_jax.load_dataset(name, **folders)
    with pytest.raises(ae_jax.InputError, match="~x is in a home"):
        is_prepared("mnist", data_dir="~x")


@pytest.mark.usefixtures("environment", "offline")
def test_auto_falls_back_to_glyphs_offline_and_logs_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert ae_jax.find_dataset("auto", data_dir=tmp_path) == "glyphs"
    assert "using the built-in GLYPHS" in caplog.text


@pytest.mark.usefixtures("environment")
def test_unresponsive_network_times_out_within_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never answers
        use_proxy(monkeypatch, port=silent.getsockname()[1])
        start = time.monotonic()
        assert ae_jax.find_dataset("auto", data_dir=tmp_path) == "glyphs"
        assert time.monotonic() - start < 10


@pytest.mark.usefixtures("environment", "offline")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_explicit_dataset_is_never_substituted_offline(name: str, tmp_path: Path) -> None:
    with pytest.raises(ae_jax.InputError, match=f"{name} is not in .* --manual-dir"):
        ae_jax.load_dataset(name, data_dir=tmp_path / "data")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["images", "labels"])
def test_cache_without_images_or_labels_is_regenerated(
    name: str, glyphs_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "ae_jax" / "glyphs-test.safetensors"
    tensors, _ = read_tensors(glyphs_dir / "ae_jax" / cache.name)
    cache.parent.mkdir()
    write_tensors(cache, {**tensors, name: np.zeros(3)}, {})
    assert len(ae_jax.load_dataset("glyphs", "test", data_dir=tmp_path).images) == 10_000
    assert "glyphs-test.safetensors does not hold images and labels. It is regenerated." in caplog.text


def test_home_of_an_unknown_user_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(ae_jax.InputError, match="is in a home directory that does not exist"):
        ae_jax.load_dataset("~nobody-of-this-name/own.npy", data_dir=tmp_path)
