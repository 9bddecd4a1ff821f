from pathlib import Path

import numpy as np
import pytest

import ae_jax


def test_pca_mse_equals_the_error_of_the_truncated_svd(digits: np.ndarray) -> None:
    train, test = digits[:250], digits[250:]
    train_pixels, test_pixels = train.reshape(250, 784) / 255, test.reshape(50, 784) / 255
    mean = train_pixels.mean(0)
    _, _, components = np.linalg.svd(train_pixels - mean, full_matrices=False)
    for k in (1, 3, 64):
        recons = mean + (test_pixels - mean) @ components[:k].T @ components[:k]
        assert ae_jax.pca_mse(train, test, k) == pytest.approx(np.mean((recons - test_pixels) ** 2), rel=1e-4)


@pytest.mark.parametrize("k", [784, 1000])
def test_pca_mse_is_zero_with_all_components(k: int, digits: np.ndarray) -> None:
    assert ae_jax.pca_mse(digits, digits, k) < 1e-10  # float32 rounding, squared


@pytest.mark.parametrize(("k", "expected"), [(3, 0.05161), (64, 0.00905)])
def test_pca_mse_on_mnist_matches_the_reference_value(
    k: int, expected: float, mnist_files: Path, data_dir: Path
) -> None:
    train, test = (
        ae_jax.load_dataset("mnist", split, data_dir=data_dir, manual_dir=mnist_files).images
        for split in ("train", "test")
    )
    assert ae_jax.pca_mse(train, test, k) == pytest.approx(expected, rel=0.01)
