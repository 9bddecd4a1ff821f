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
from ae_jax.data.datasets import dataset_digest, find_dataset, hold_out, load_splits
from tests.conftest import use_proxy


@pytest.mark.usefixtures("unchecked")
def test_unknown_names_are_errors_that_list_the_known_ones() -> None:
    with pytest.raises(ae_jax.InputError, match=r"unknown dataset 'cifar'; choose auto, mnist, .*glyphs"):
        ae_jax.load_dataset("cifar")
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
    assert str(cache) in caplog.text
    assert "It is regenerated." in caplog.text
    assert cache.read_bytes() == (data_dir / "ae_jax" / cache.name).read_bytes()


def test_folders_that_cannot_be_used_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert len(ae_jax.load_dataset("glyphs", "test", data_dir=tmp_path / "file").images) == 10_000  # without a cache
    assert "file/ae_jax cannot be written (Not a directory): glyphs is prepared anew each time." in caplog.text
    with pytest.raises(ae_jax.InputError, match=r"^~nobody-of-this-name/own.npy cannot be read: No such file"):
        ae_jax.load_dataset("~nobody-of-this-name/own.npy", data_dir=tmp_path)


@pytest.mark.usefixtures("environment", "offline")
def test_auto_falls_back_to_glyphs_offline_and_logs_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_dataset("auto", data_dir=tmp_path) == "glyphs"
    assert "using SYNTHETIC DIGITS" in caplog.text


@pytest.mark.usefixtures("environment")
def test_unresponsive_network_times_out_within_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never answers
        use_proxy(monkeypatch, port=silent.getsockname()[1])
        start = time.monotonic()
        assert find_dataset("auto", data_dir=tmp_path) == "glyphs"
        assert time.monotonic() - start < 10


@pytest.mark.usefixtures("environment", "offline")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_explicit_dataset_is_never_substituted_offline(name: str, tmp_path: Path) -> None:
    with pytest.raises(ae_jax.InputError, match=f"{name} is not in .* as `manual_dir`, or choose glyphs"):
        ae_jax.load_dataset(name, data_dir=tmp_path / "data")


def test_images_held_out_are_the_last_ones(labelled_images: Path) -> None:
    train, _ = load_splits(labelled_images)
    rest, held_out = hold_out(train, 20)
    for part, rows in ((rest, slice(250)), (held_out, slice(250, 270))):
        np.testing.assert_array_equal(part.images, train.images[rows])
        np.testing.assert_array_equal(part.labels, train.labels[rows])
    assert hold_out(train, 0) == (train, None)
    with pytest.raises(ae_jax.InputError, match="`validation` must be less than the 270 training images, not 270"):
        hold_out(train, 270)


def test_digest_changes_with_any_pixel_and_with_the_split(own_images: Path) -> None:
    train, test = load_splits(own_images)
    images = test.images.copy()
    images[-1, -1, -1] ^= 1
    digests = {dataset_digest(train, test), dataset_digest(test, train)}
    assert len(digests | {dataset_digest(train, ae_jax.Dataset("own.npy", images, None))}) == 3
    assert dataset_digest(*load_splits(own_images)) in digests
