import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax import tfds_mnist
from tests.conftest import use_proxy

OFFICIAL = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz")


def read_idx(path: Path, header_bytes: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header_bytes)


# ---- the user's own files


@pytest.mark.parametrize("shape", [(25, 28, 28), (25, 28, 28, 1)])
def test_every_tenth_image_of_a_file_is_for_testing(shape: tuple[int, ...], tmp_path: Path) -> None:
    images = np.arange(25, dtype=np.uint8)[:, None, None] + np.zeros((25, 28, 28), np.uint8)
    np.save(tmp_path / "own.npy", images.reshape(shape))
    train, test = (ae_jax.load_dataset(str(tmp_path / "own.npy"), split) for split in ("train", "test"))
    assert test.images[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert sorted([*train.images[:, 0, 0, 0], 0, 10, 20]) == list(range(25))
    assert train.images.shape == (22, 28, 28, 1)
    assert train.labels is None


def test_labels_follow_their_images(tmp_path: Path, digits: np.ndarray) -> None:
    labels = np.arange(300)
    np.savez(tmp_path / "own.npz", images=digits, labels=labels)
    for split in ("train", "test"):
        part = ae_jax.load_dataset(str(tmp_path / "own.npz"), split)
        assert part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.images, digits[part.labels])


def test_a_file_split_as_kerass_is_keeps_its_split(tmp_path: Path, digits: np.ndarray) -> None:
    np.savez_compressed(
        tmp_path / "mnist.npz", x_train=digits[:200, :, :, 0], y_train=np.ones(200, int), x_test=digits[200:]
    )
    train, test = (ae_jax.load_dataset(str(tmp_path / "mnist.npz"), split) for split in ("train", "test"))
    np.testing.assert_array_equal(train.images, digits[:200])
    np.testing.assert_array_equal(test.images, digits[200:])
    assert train.labels.tolist() == [1] * 200
    assert test.labels is None


def bad_array_files(folder: Path) -> dict[str, tuple[Path, str]]:
    good = np.zeros((20, 28, 28), np.uint8)
    arrays = {
        "shape": (np.zeros((20, 32, 32), np.uint8), r"uint8\[20, 32, 32\]; images must be uint8\[n, 28, 28\]"),
        "dtype": (good.astype(np.float32), r"float32\[20, 28, 28\]; images must be"),
        "none": (good[:0], r"uint8\[0, 28, 28\]; images must be"),
        "one": (good[:1], "at least two"),
        "scalar": (np.uint8(3), r"uint8\[\]; images must be"),
        "pickled": (np.array([{"a": 1}]), "cannot be read as arrays, without pickle"),
    }
    files = {}
    for name, (array, message) in arrays.items():
        np.save(folder / f"{name}.npy", array)
        files[name] = (folder / f"{name}.npy", message)
    np.save(folder / "whole.npy", good)
    np.savez(folder / "whole.npz", images=good)
    np.savez(folder / "names.npz", a=good, b=good)
    np.savez(folder / "labels.npz", images=good, labels=np.zeros(3, int))
    (folder / "text.npy").write_text("not an array")
    (folder / "empty.npy").touch()
    (folder / "empty.npz").touch()
    (folder / "folder.npy").mkdir()
    for suffix in ("npy", "npz"):
        content = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"truncated.{suffix}").write_bytes(content[: len(content) // 2])
    return files | {
        "names": (folder / "names.npz", "holds a, b; name the array of images 'images'"),
        "labels": (folder / "labels.npz", r"labels int64\[3\]; for 20 images they must be int\[20\]"),
        "missing": (folder / "missing.npy", "does not exist"),
        **{
            name: (folder / name, "cannot be read as arrays")
            for name in ("text.npy", "empty.npy", "empty.npz", "folder.npy", "truncated.npy", "truncated.npz")
        },
    }


def test_a_bad_array_file_is_one_clear_sentence(tmp_path: Path) -> None:
    for name, (path, message) in bad_array_files(tmp_path).items():
        with pytest.raises(ae_jax.InputError, match=message) as error:
            ae_jax.load_dataset(str(path))
        assert str(path) in str(error.value), name
        assert "\n" not in str(error.value), name


def test_an_unknown_dataset_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ae_jax.InputError, match=r"unknown dataset 'cifar'; choose auto, mnist, .*glyphs"):
        ae_jax.load_dataset("cifar")


def test_an_unknown_split_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ae_jax.InputError, match="unknown split 'validation'; choose train or test"):
        ae_jax.load_dataset("glyphs", "validation")


# ---- glyphs and the cache


@pytest.mark.usefixtures("environment")
def test_glyphs_are_the_same_on_every_start(data_dir: Path, tmp_path: Path) -> None:
    first = ae_jax.load_dataset("glyphs", "test")
    again = ae_jax.load_dataset("glyphs", "test")  # from the cache
    assert first.images.shape == (10_000, 28, 28, 1)
    assert first.labels.dtype == np.int32
    np.testing.assert_array_equal(first.images, again.images)
    program = (
        "import ae_jax, hashlib; d = ae_jax.load_dataset('glyphs', 'test');"
        "print(hashlib.sha256(d.images.tobytes() + d.labels.tobytes()).hexdigest())"
    )
    starts = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "TFDS_DATA_DIR": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for folder in (data_dir, tmp_path / "fresh")
    ]
    assert starts[0] == starts[1]


def test_a_damaged_cache_is_named_and_made_again(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = ae_jax.load_dataset("glyphs", "test", data_dir=data_dir)
    shutil.copytree(data_dir / "ae_jax", tmp_path / "ae_jax")
    cache = tmp_path / "ae_jax" / "glyphs-test.safetensors"
    content = bytearray(cache.read_bytes())
    content[len(content) // 2] ^= 1
    cache.write_bytes(content)
    loaded = ae_jax.load_dataset("glyphs", "test", data_dir=tmp_path)
    np.testing.assert_array_equal(loaded.images, expected.images)
    assert f"{cache} is damaged" in caplog.text
    assert cache.read_bytes() == (data_dir / "ae_jax" / "glyphs-test.safetensors").read_bytes()


def test_a_data_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ae_jax.InputError, match=r"file/ae_jax cannot be written .* --data-dir"):
        ae_jax.load_dataset("glyphs", "test", data_dir=tmp_path / "file")


# ---- what cannot be had


@pytest.mark.usefixtures("environment", "offline")
def test_without_network_auto_is_glyphs_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert ae_jax.find_dataset("auto", data_dir=tmp_path) == "glyphs"
    assert "using the embedded GLYPHS" in caplog.text


@pytest.mark.usefixtures("environment")
def test_a_network_that_never_answers_is_given_up_within_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        use_proxy(monkeypatch, port=silent.getsockname()[1])
        start = time.monotonic()
        assert ae_jax.find_dataset("auto", data_dir=tmp_path) == "glyphs"
        assert time.monotonic() - start < 10


@pytest.mark.usefixtures("environment", "offline")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_without_network_a_dataset_by_name_is_never_substituted(name: str, tmp_path: Path) -> None:
    with pytest.raises(ae_jax.InputError, match=f"{name} is not in .* --manual-dir"):
        ae_jax.load_dataset(name, data_dir=tmp_path / "data")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_manual_folder_without_the_files_is_an_error_that_names_them(name: str, tmp_path: Path) -> None:
    (tmp_path / OFFICIAL[0]).touch()
    with pytest.raises(ae_jax.InputError, match=f"lacks {OFFICIAL[1]}, {OFFICIAL[2]}"):
        ae_jax.load_dataset(name, data_dir=tmp_path / "data", manual_dir=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_files_that_are_not_the_official_ones_fail_their_checksum(name: str, tmp_path: Path) -> None:
    manual = tmp_path / "manual"
    manual.mkdir()
    for files in tfds_mnist.FILES.values():
        for file in files:
            (manual / file).write_bytes(gzip.compress(b"another file"))
    with pytest.raises(ae_jax.InputError, match=r"idx\d-ubyte\.gz, has wrong checksum: .*Expected.*Got") as error:
        ae_jax.load_dataset(name, data_dir=tmp_path / "data", manual_dir=manual)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [manual]


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_folder_prepared_as_tfrecord_is_an_error_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({"name": "mnist", "fileFormat": "tfrecord"}))
    with pytest.raises(ae_jax.InputError, match=r"3\.0\.1 was prepared as tfrecord.* --data-dir"):
        ae_jax.load_dataset(name, data_dir=tmp_path)


# ---- the real digits


def test_mnist_is_what_the_official_files_hold(mnist_files: Path, data_dir: Path) -> None:
    for split, (images_file, labels_file) in tfds_mnist.FILES.items():
        data = ae_jax.load_dataset("mnist", split, data_dir=data_dir, manual_dir=mnist_files)
        images = read_idx(mnist_files / images_file, 16).reshape(-1, 784)
        labels = read_idx(mnist_files / labels_file, 8)
        assert data.name == "mnist"
        assert data.images.shape == (len(images), 28, 28, 1)
        assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int32)
        expected = Counter((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
        actual = Counter((image.tobytes(), int(label)) for image, label in zip(data.images, data.labels, strict=True))
        assert actual == expected


def test_tfds_itself_opens_what_was_prepared(mnist_files: Path, data_dir: Path) -> None:
    data = ae_jax.load_dataset("mnist", "test", data_dir=data_dir, manual_dir=mnist_files)
    tfds = pytest.importorskip("tensorflow_datasets")
    source = tfds.data_source("mnist", split="test", data_dir=data_dir)
    assert len(source) == 10_000
    for i in (0, 9_999):
        np.testing.assert_array_equal(source[i]["image"], data.images[i])
        assert source[i]["label"] == data.labels[i]


def test_auto_is_mnist_where_its_files_are_at_hand(mnist_files: Path, tmp_path: Path) -> None:
    assert ae_jax.find_dataset("auto", data_dir=tmp_path, manual_dir=mnist_files) == "mnist"


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_official_file_is_an_error_that_names_its_checksum(
    damage: str, mnist_files: Path, tmp_path: Path
) -> None:
    manual = tmp_path / "manual"
    shutil.copytree(mnist_files, manual)
    file = manual / OFFICIAL[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content if damage == "altered" else content[: len(content) // 2])
    official = "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    with pytest.raises(ae_jax.InputError, match=f"{file}, has wrong checksum: .*{official}"):
        ae_jax.load_dataset("auto", data_dir=tmp_path / "data", manual_dir=manual)
    assert list(tmp_path.iterdir()) == [manual]
