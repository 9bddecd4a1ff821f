from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.data.array_files import read_images
from tests.support.bad_array_files import bad_array_files
from tests.support.hostile_array_files import IMAGES, hostile_array_files, npz, saved, with_sizes


@pytest.mark.parametrize("shape", [(25, 28, 28), (25, 28, 28, 1)])
def test_every_tenth_image_of_an_array_file_goes_to_the_test_split(shape: tuple[int, ...], tmp_path: Path) -> None:
    images = np.arange(25, dtype=np.uint8)[:, None, None] + np.zeros((25, 28, 28), np.uint8)
    np.save(tmp_path / "own.npy", images.reshape(shape))
    train, test = (ae_jax.load_dataset(str(tmp_path / "own.npy"), split) for split in ("train", "test"))
    assert test.images[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert sorted([*train.images[:, 0, 0, 0], 0, 10, 20]) == list(range(25))
    assert train.images.shape == (22, 28, 28, 1)
    assert train.labels is None


def test_labels_stay_aligned_with_images_after_splitting(tmp_path: Path, digits: np.ndarray) -> None:
    labels = np.arange(300)
    np.savez(tmp_path / "own.npz", images=digits, labels=labels)
    for split in ("train", "test"):
        part = ae_jax.load_dataset(str(tmp_path / "own.npz"), split)
        assert part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.images, digits[part.labels])


def test_keras_style_npz_keeps_its_train_test_split(tmp_path: Path, digits: np.ndarray) -> None:
    np.savez_compressed(
        tmp_path / "mnist.npz", x_train=digits[:200, :, :, 0], y_train=np.ones(200, int), x_test=digits[200:]
    )
    train, test = (ae_jax.load_dataset(str(tmp_path / "mnist.npz"), split) for split in ("train", "test"))
    np.testing.assert_array_equal(train.images, digits[:200])
    np.testing.assert_array_equal(test.images, digits[200:])
    assert train.labels.tolist() == [1] * 200
    assert test.labels is None


def test_invalid_array_files_raise_one_line_errors_naming_the_file(tmp_path: Path) -> None:
    for name, (path, message) in bad_array_files(tmp_path).items():
        with pytest.raises(ae_jax.InputError, match=message) as error:
            ae_jax.load_dataset(str(path))
        assert str(path) in str(error.value), name
        assert "\n" not in str(error.value), name


def test_hostile_array_files_raise_one_line_errors_without_allocating_what_they_claim(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="measures memory on Unix")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in hostile_array_files(tmp_path):
        for read in (ae_jax.load_dataset, read_images):
            with pytest.raises(ae_jax.InputError) as error:
                read(path)
            assert path.name in str(error.value)
            assert str(error.value).isprintable(), path
            assert ("\\n" in str(error.value)) == (path.name == "newline.npz")  # of a long message the first line
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path: Path) -> None:
    bomb = npz(saved(np.zeros((300_000, 28, 28), np.uint8)))
    for content in (bomb, with_sizes(bomb, 300_000 * 784 + 128, packed=2**31)):
        (tmp_path / "bomb.npz").write_bytes(content)
        refusal = r"images\.npy would unpack from 2\d\d,\d{3} to 235,200,128 bytes|zip bomb"
        with pytest.raises(ae_jax.InputError, match=refusal):
            ae_jax.load_dataset(tmp_path / "bomb.npz")


def test_arrays_of_an_archive_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    content = {"images": IMAGES, "other": np.array([{"a": 1}])}
    np.savez(tmp_path / "own.npz", **content)
    assert len(ae_jax.load_dataset(tmp_path / "own.npz").images) == 18


def test_a_npy_file_longer_than_its_header_says_is_refused(tmp_path: Path) -> None:
    content = saved(IMAGES)
    (tmp_path / "own.npy").write_bytes(content.replace(b"(20, 28, 28)", b"(10, 28, 28)"))
    with pytest.raises(ae_jax.InputError, match="it is longer than its header says"):
        ae_jax.load_dataset(tmp_path / "own.npy")


def test_arrays_that_the_directory_of_an_archive_loses_are_missed(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=np.arange(20))
    content = (tmp_path / "own.npz").read_bytes()
    start = content.index(b"PK\x01\x02")
    hidden = bytearray(content)
    hidden[start + 33] = 0x10  # the length of a comment, which hides the next entry
    cases = {
        content[:start] + content[start:].replace(b"labels", b"label5"): "File name in directory",
        bytes(hidden): "it lists 1 of 2 arrays",
    }
    for corrupt, message in cases.items():
        (tmp_path / "own.npz").write_bytes(corrupt)
        with pytest.raises(ae_jax.InputError, match=message):
            ae_jax.load_dataset(tmp_path / "own.npz")


@pytest.mark.parametrize("label", [2**31, -(2**31) - 1, 2**32])
def test_labels_beyond_32_bits_are_refused(label: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=np.full(20, label))
    with pytest.raises(ae_jax.InputError, match="must fit into 32 bits"):
        ae_jax.load_dataset(tmp_path / "own.npz")


@pytest.mark.parametrize("labels", [np.zeros(20), np.zeros(20, bool), np.zeros(20, "S1"), np.zeros((20, 1), int)])
def test_labels_that_are_not_one_integer_per_image_are_refused(labels: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=labels)
    with pytest.raises(ae_jax.InputError, match=r"has labels .*; for 20 images they must be int\[20\]"):
        ae_jax.load_dataset(tmp_path / "own.npz")


def test_fortran_order_and_other_byte_orders_are_read(tmp_path: Path, digits: np.ndarray) -> None:
    labels = np.arange(300).astype(">i8")
    np.savez_compressed(tmp_path / "own.npz", images=np.asfortranarray(digits), labels=labels)
    data = ae_jax.load_dataset(tmp_path / "own.npz")
    np.testing.assert_array_equal(data.images, digits[data.labels])
    np.save(tmp_path / "own.npy", np.asfortranarray(digits))
    np.testing.assert_array_equal(ae_jax.load_dataset(tmp_path / "own.npy").images, data.images)
