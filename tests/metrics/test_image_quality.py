import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ae_jax.metrics.image_quality import image_quality


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, averaged over all positions where an 11×11 window fits."""

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return float(np.mean(numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def test_mse_psnr_and_ssim_match_their_definitions(digits: np.ndarray) -> None:
    images = (digits[:7] / 255).astype(np.float32)
    recons = np.clip(images + np.random.default_rng(0).normal(0, 0.2, images.shape), 0, 1).astype(np.float32)
    quality = image_quality(images, recons)
    errors = ((images - recons).astype(np.float64) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(quality.mse, errors, rtol=1e-5)
    np.testing.assert_allclose(quality.psnr, 10 * np.log10(1 / errors), rtol=1e-5)
    pairs = zip(images[..., 0].astype(np.float64), recons[..., 0].astype(np.float64), strict=True)
    expected = [ssim(a, b) for a, b in pairs]
    np.testing.assert_allclose(quality.ssim, expected, atol=1e-5)  # differences of float32 squares


def test_identical_images_have_mse_0_psnr_100_and_ssim_1(digits: np.ndarray) -> None:
    images = (digits[:3] / 255).astype(np.float32)
    quality = image_quality(images, images)
    assert quality.mse.tolist() == [0, 0, 0]
    assert quality.psnr.tolist() == [100, 100, 100]
    assert quality.ssim == pytest.approx([1, 1, 1])


def test_image_quality_is_computed_per_image_independently_of_the_others(digits: np.ndarray) -> None:
    images = (np.tile(digits, (4, 1, 1, 1))[:1001] / 255).astype(np.float32)  # more images than are compared at once
    recons = 1 - images
    whole, alone = image_quality(images, recons), image_quality(images[1000:], recons[1000:])
    for one, other in zip(whole, alone, strict=True):
        assert len(one) == 1001
        np.testing.assert_allclose(one[1000:], other, rtol=1e-5)
