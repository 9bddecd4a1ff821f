import gzip
import hashlib
import json
import shutil
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.data.mnist import can_prepare, official_files


def read_idx(path: Path, header_bytes: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header_bytes)


def examples(images: np.ndarray, labels: np.ndarray) -> Counter[tuple[bytes, int]]:
    """In no order."""
    return Counter((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


@pytest.fixture
def no_array_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.setitem(sys.modules, "array_record", None)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_incomplete_manual_dir_error_lists_the_missing_files(name: str, tmp_path: Path) -> None:
    first, *others = official_files("mnist")
    (tmp_path / first).touch()
    with pytest.raises(ae_jax.InputError, match=f"lacks {', '.join(others)};"):
        ae_jax.load_dataset(name, data_dir=tmp_path / "data", manual_dir=tmp_path)


def check_unofficial_files_are_refused(name: str, folder: Path) -> None:
    for file in official_files(name):
        (folder / file).write_bytes(gzip.compress(b"another file"))
    with pytest.raises(ae_jax.InputError, match=r"\.(gz|zip), has wrong checksum\. .* `manual_dir`") as error:
        ae_jax.load_dataset(name, data_dir=folder / "data", manual_dir=folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "emnist/letters"])
def test_unofficial_files_fail_checksum_verification(name: str, tmp_path: Path) -> None:
    check_unofficial_files_are_refused(name, tmp_path)


@pytest.mark.usefixtures("no_array_record")
def test_without_array_record_unofficial_files_fail_checksum_verification(tmp_path: Path) -> None:
    check_unofficial_files_are_refused("mnist", tmp_path)


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_dataset_prepared_as_tfrecord_raises_an_actionable_error(name: str, tmp_path: Path) -> None:
    pytest.importorskip("array_record")
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({"name": "mnist", "fileFormat": "tfrecord"}))
    with pytest.raises(ae_jax.InputError, match=r"3\.0\.1 was prepared as tfrecord.* `data_dir`"):
        ae_jax.load_dataset(name, data_dir=tmp_path)


def test_mnist_matches_the_official_idx_files(mnist_files: Path, data_dir: Path) -> None:
    for split, prefix in (("train", "train"), ("test", "t10k")):
        data = ae_jax.load_dataset("auto", split, data_dir=data_dir, manual_dir=mnist_files)
        images = read_idx(mnist_files / f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        labels = read_idx(mnist_files / f"{prefix}-labels-idx1-ubyte.gz", 8)
        assert data.name == "mnist"
        assert data.images.shape == images.shape
        assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int32)
        assert examples(data.images, data.labels) == examples(images, labels)


@pytest.mark.parametrize("wrapping", ["unpacked", "dotted", "packed twice", "MNIST/raw"])
def test_mnist_is_found_by_its_content_in_other_wrappings(wrapping: str, mnist_files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "MNIST/raw" if wrapping == "MNIST/raw" else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    for path in mnist_files.glob("*.gz"):
        packed, stem = path.read_bytes(), path.name.removesuffix(".gz")
        name = {"packed twice": path.name, "dotted": stem.replace("-idx", ".idx")}.get(wrapping, stem)
        content = gzip.compress(packed, 1) if wrapping == "packed twice" else gzip.decompress(packed)
        (folder / name).write_bytes(content)
    assert can_prepare("mnist", tmp_path)
    (folder / name).write_bytes(content[:-1] + b"?")
    if wrapping != "packed twice":  # that one is refused when it is read
        with pytest.raises(ae_jax.InputError, match="lacks"):
            can_prepare("mnist", tmp_path)


def test_prepared_mnist_is_readable_with_tfds(mnist_files: Path, data_dir: Path) -> None:
    data = ae_jax.load_dataset("mnist", "test", data_dir=data_dir, manual_dir=mnist_files)
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    source = tfds.data_source("mnist", split="test", data_dir=data_dir)
    assert len(source) == 10_000
    for i in (0, 9_999):
        np.testing.assert_array_equal(source[i]["image"], data.images[i])
        assert source[i]["label"] == data.labels[i]


def test_without_array_record_the_images_are_the_same_in_the_same_order(
    mnist_files: Path, data_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("array_record")
    prepared = ae_jax.load_dataset("mnist", "test", data_dir=data_dir, manual_dir=mnist_files)
    request.getfixturevalue("no_array_record")
    for manual_dir in (mnist_files, None):  # None: from the cache
        data = ae_jax.load_dataset("mnist", "test", data_dir=tmp_path, manual_dir=manual_dir)
        np.testing.assert_array_equal(data.images, prepared.images)
        np.testing.assert_array_equal(data.labels, prepared.labels)
    assert not (tmp_path / "mnist").exists()


def test_corrupt_prepared_dataset_is_an_error_that_says_to_delete_it(
    mnist_files: Path, data_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("array_record")
    ae_jax.load_dataset("mnist", "test", data_dir=data_dir, manual_dir=mnist_files)
    shutil.copytree(data_dir / "mnist", tmp_path / "mnist")
    (file,) = (tmp_path / "mnist" / "3.0.1").glob("mnist-test.array_record*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ae_jax.InputError, match=r"mnist cannot be read: .*\. Delete it to prepare it") as error:
        ae_jax.load_dataset("mnist", "test", data_dir=tmp_path)
    assert "\n" not in str(error.value)


def write_emnist(folder: Path, images: np.ndarray, labels: np.ndarray) -> bytes:
    """Write an archive in EMNIST's layout, with the same images in both splits, and return its bytes."""
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        for split in ("train", "test"):
            prefix = f"gzip/emnist-letters-{split}"
            archive.writestr(f"{prefix}-images-idx3-ubyte.gz", gzip.compress(bytes(16) + images.tobytes()))
            archive.writestr(f"{prefix}-labels-idx1-ubyte.gz", gzip.compress(bytes(8) + labels.tobytes()))
    return (folder / "gzip.zip").read_bytes()


def test_emnist_matches_tfds_transposed_to_upright_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("array_record")
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.checksums import UrlInfo

    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (40, 28, 28), np.uint8), random.integers(1, 27, 40).astype(np.uint8)
    content = write_emnist(tmp_path, images, labels)
    emnist = tfds.builder_cls("emnist")
    info = UrlInfo(size=len(content), checksum=hashlib.sha256(content).hexdigest(), filename="gzip.zip")
    monkeypatch.setattr(emnist, "url_infos", {emnist.URL: info})  # of this archive, since the real one has 560 MB
    (config,) = (config for config in emnist.BUILDER_CONFIGS if config.name == "letters")
    monkeypatch.setattr(config, "train_examples", 30)  # fewer than the file has, as for the real letters
    monkeypatch.setattr(config, "test_examples", 40)

    folders = {"data_dir": tmp_path / "data", "manual_dir": tmp_path}
    train, test = (ae_jax.load_dataset("emnist/letters", split, **folders) for split in ("train", "test"))
    assert (train.name, len(train.images), len(test.images)) == ("emnist/letters", 30, 40)
    assert examples(test.images, test.labels) == examples(images.swapaxes(1, 2), labels)
    source = tfds.data_source("emnist/letters", split="test", data_dir=tmp_path / "data")
    np.testing.assert_array_equal(source[7]["image"][..., 0].T, test.images[7, ..., 0])

    request.getfixturevalue("no_array_record")
    again = ae_jax.load_dataset("emnist/letters", "train", data_dir=tmp_path / "other", manual_dir=tmp_path)
    np.testing.assert_array_equal(again.images, train.images)
    np.testing.assert_array_equal(again.labels, train.labels)
