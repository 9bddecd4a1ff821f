"""Images in a file behave as the array they hold."""

from pathlib import Path

import numpy as np
import pytest

from ae_jax.data.datasets import hold_out, open_dataset
from ae_jax.data.stored_images import StoredImages
from ae_jax.errors import RunError


def test_stored_images_indexing_matches_the_array_file(stored: StoredImages, digits: np.ndarray) -> None:
    expected = digits[np.arange(300) % 10 != 0]
    assert stored.shape == expected.shape
    assert stored.nbytes == expected.nbytes
    np.testing.assert_array_equal(np.asarray(stored), expected)
    np.testing.assert_array_equal(stored[5:17], expected[5:17])
    for size in (0, 1, 3, 200, 1000):  # distant, adjacent and repeated rows
        rows = np.random.default_rng(size).integers(0, len(expected), size)
        np.testing.assert_array_equal(stored[rows], expected[rows])


def test_images_held_out_are_the_last_ones_and_are_read_when_indexed(own_images: Path, digits: np.ndarray) -> None:
    rest, held_out = hold_out(open_dataset(str(own_images), "train"), 20)
    assert isinstance(rest.images, StoredImages)
    assert isinstance(held_out.images, StoredImages)
    expected = digits[np.arange(300) % 10 != 0]
    np.testing.assert_array_equal(np.asarray(rest.images), expected[:-20])
    np.testing.assert_array_equal(held_out.images[5:9], expected[-20:][5:9])


def test_stored_images_read_distant_rows_of_a_large_file(tmp_path: Path) -> None:
    images = np.zeros((5000, 28, 28), np.uint8)
    images[:, 0, :2] = np.stack(np.divmod(np.arange(5000), 256), axis=1)
    np.save(tmp_path / "large.npy", images)
    stored = open_dataset(str(tmp_path / "large.npy"), "train").images
    rows = np.array([4499, 0, 1, 70, 4498, 2000, 1023, 1024])
    numbers = stored[rows][:, 0, :2, 0].astype(int) @ [256, 1]
    np.testing.assert_array_equal(numbers, np.flatnonzero(np.arange(5000) % 10)[rows])


def test_file_truncated_while_in_use_raises_an_error(tmp_path: Path, digits: np.ndarray) -> None:
    path = tmp_path / "own.npy"
    np.save(path, digits)
    stored = open_dataset(str(path), "train").images
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(RunError, match="has become shorter"):
        np.asarray(stored)
