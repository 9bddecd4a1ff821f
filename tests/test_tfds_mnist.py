import gzip
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax import tfds_mnist


def read_idx(path: Path, header_bytes: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header_bytes)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_manual_folder_without_the_files_is_an_error_that_names_them(name: str, tmp_path: Path) -> None:
    first, *others = (file for files in tfds_mnist.FILES.values() for file in files)
    (tmp_path / first).touch()
    with pytest.raises(ae_jax.InputError, match=f"lacks {', '.join(others)};"):
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
    file = manual / "train-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content if damage == "altered" else content[: len(content) // 2])
    official = "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    with pytest.raises(ae_jax.InputError, match=f"{file}, has wrong checksum: .*{official}"):
        ae_jax.load_dataset("auto", data_dir=tmp_path / "data", manual_dir=manual)
    assert list(tmp_path.iterdir()) == [manual]
