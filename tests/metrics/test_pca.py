from pathlib import Path

import numpy as np
import pytest

import ae_jax


def test_it_is_the_truncated_singular_value_decomposition(digits: np.ndarray) -> None:
    train, test = digits[:250], digits[250:]
    pixels, asked = train.reshape(250, 784) / 255, test.reshape(50, 784) / 255
    mean = pixels.mean(0)
    _, _, components = np.linalg.svd(pixels - mean, full_matrices=False)
    for k in (1, 3, 64):
        recons = mean + (asked - mean) @ components[:k].T @ components[:k]
        assert ae_jax.pca_mse(train, test, k) == pytest.approx(np.mean((recons - asked) ** 2), rel=1e-4)


@pytest.mark.parametrize("k", [784, 1000])
def test_all_components_explain_everything(k: int, digits: np.ndarray) -> None:
    assert ae_jax.pca_mse(digits, digits, k) < 1e-10  # float32 rounding, squared


@pytest.mark.parametrize(("k", "expected"), [(3, 0.05161), (64, 0.00905)])
def test_on_mnist_it_is_the_known_figure(k: int, expected: float, mnist_files: Path, data_dir: Path) -> None:
    train, test = (
        ae_jax.load_dataset("mnist", split, data_dir=data_dir, manual_dir=mnist_files).images
        for split in ("train", "test")
    )
    assert ae_jax.pca_mse(train, test, k) == pytest.approx(expected, rel=0.01)
