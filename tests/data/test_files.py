from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.data.files import read_images
from tests.support.bad_array_files import bad_array_files


@pytest.mark.parametrize("shape", [(25, 28, 28), (25, 28, 28, 1)])
def test_every_tenth_image_of_an_array_file_goes_to_the_test_split(shape: tuple[int, ...], tmp_path: Path) -> None:
    images = np.arange(25, dtype=np.uint8)[:, None, None] + np.zeros((25, 28, 28), np.uint8)
    np.save(tmp_path / "own.npy", images.reshape(shape))
    train, test = (ae_jax.load_dataset(tmp_path / "own.npy", split) for split in ("train", "test"))
    assert test.images[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert sorted([*train.images[:, 0, 0, 0], 0, 10, 20]) == list(range(25))
    assert train.images.shape == (22, 28, 28, 1)
    assert train.labels is None
    np.testing.assert_array_equal(read_images(tmp_path / "own.npy")[..., 0], images)


def test_labels_stay_aligned_with_images_in_any_memory_order(tmp_path: Path, digits: np.ndarray) -> None:
    labels, unused = np.arange(300).astype(">i8"), np.array([{"a": 1}])
    np.savez_compressed(tmp_path / "own.npz", images=np.asfortranarray(digits), labels=labels, unused=unused)
    for split in ("train", "test"):
        part = ae_jax.load_dataset(tmp_path / "own.npz", split)
        assert part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.images, digits[part.labels])


def test_keras_style_npz_keeps_its_train_test_split(tmp_path: Path, digits: np.ndarray) -> None:
    arrays = {"x_train": digits[:200, :, :, 0], "y_train": np.ones(200, int), "x_test": digits[200:]}
    np.savez_compressed(tmp_path / "mnist.npz", **arrays)
    train, test = (ae_jax.load_dataset(tmp_path / "mnist.npz", split) for split in ("train", "test"))
    np.testing.assert_array_equal(train.images, digits[:200])
    np.testing.assert_array_equal(test.images, digits[200:])
    assert train.labels.tolist() == [1] * 200
    assert test.labels is None
    np.testing.assert_array_equal(read_images(tmp_path / "mnist.npz"), digits[200:])


def test_flat_images_and_files_of_kaggle_are_taken_as_they_are(tmp_path: Path, digits: np.ndarray) -> None:
    labels = np.arange(300) % 10
    np.save(tmp_path / "flat.npy", digits.reshape(300, 784))
    header, rows = ["pixel0", *(f"pixel{i}" for i in range(1, 784))], digits.reshape(300, 784).tolist()
    table = [["label", *header], *([label, *row] for label, row in zip(labels.tolist(), rows, strict=True))]
    (tmp_path / "train.csv").write_text("\n".join(",".join(map(str, line)) for line in table) + "\n")
    (tmp_path / "test.csv").write_text("\n".join(",".join(map(str, line)) for line in [header, *rows]) + "\n")
    for name in ("flat.npy", "train.csv", "test.csv"):
        np.testing.assert_array_equal(read_images(tmp_path / name), digits)
    assert ae_jax.load_dataset(tmp_path / "train.csv", "test").labels.tolist() == labels[::10].tolist()


def test_invalid_array_files_raise_one_line_errors_naming_the_file(tmp_path: Path) -> None:
    for name, (path, message) in bad_array_files(tmp_path).items():
        with pytest.raises(ae_jax.InputError, match=message) as error:
            ae_jax.load_dataset(path)
        assert str(path) in str(error.value), name
        assert "\n" not in str(error.value), name
