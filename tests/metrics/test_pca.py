from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

import ae_jax
from ae_jax.metrics.pca import pca_mse


def test_pca_mse_equals_the_error_of_the_truncated_svd(digits: np.ndarray) -> None:
    train, test = digits[:250], digits[250:]
    train_pixels, test_pixels = train.reshape(250, 784) / 255, test.reshape(50, 784) / 255
    mean = train_pixels.mean(0)
    _, _, components = np.linalg.svd(train_pixels - mean, full_matrices=False)
    for k in (1, 3, 64):
        recons = mean + (test_pixels - mean) @ components[:k].T @ components[:k]
        assert pca_mse(train, test, k) == pytest.approx(np.mean((recons - test_pixels) ** 2), rel=1e-4)


@pytest.mark.parametrize("k", [784, 1000])
def test_pca_mse_is_zero_with_all_components(k: int, digits: np.ndarray) -> None:
    assert pca_mse(digits, digits, k) < 1e-10  # float32 rounding, squared


@pytest.mark.parametrize(("k", "expected"), [(3, 0.05161), (64, 0.00905)])
def test_pca_mse_on_mnist_matches_the_reference_value(
    k: int, expected: float, mnist_files: Path, data_dir: Path
) -> None:
    train, test = (
        ae_jax.load_dataset("mnist", split, data_dir=data_dir, manual_dir=mnist_files).images
        for split in ("train", "test")
    )
    assert pca_mse(train, test, k) == pytest.approx(expected, rel=0.01)


def test_the_threads_of_blas_do_not_compete_for_busy_cores(digits: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads took seconds there, in which no signal was handled."""
    solve, num_threads = scipy.linalg.eigh, []

    def eigh(*arguments: object, **options: object) -> object:
        num_threads.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return solve(*arguments, **options)

    monkeypatch.setattr(scipy.linalg, "eigh", eigh)
    with threadpool_limits(2, "blas"):
        pca_mse(digits, digits, 3)
    assert max(num_threads, default=1) == 1  # none: a BLAS that threadpoolctl does not know
