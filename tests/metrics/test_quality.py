import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from ae_jax.metrics.quality import auroc, image_quality, linear_probe, nearest_neighbours


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, averaged over all positions where an 11×11 window fits."""
    profile = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(profile, profile) / profile.sum() ** 2

    def mean(x: np.ndarray) -> np.ndarray:
        return (sliding_window_view(x, (11, 11)) * weights).sum((2, 3))

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return float(np.mean(numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def test_mse_psnr_and_ssim_match_their_definitions(digits: np.ndarray) -> None:
    images = (digits[:7] / 255).astype(np.float32)
    recons = np.clip(images + np.random.default_rng(0).normal(0, 0.2, images.shape), 0, 1).astype(np.float32)
    quality = image_quality(images, recons)
    errors = ((images - recons).astype(np.float64) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(quality["mse"], errors, rtol=1e-5)
    np.testing.assert_allclose(quality["psnr"], 10 * np.log10(1 / errors), rtol=1e-5)
    pairs = zip(images[..., 0].astype(np.float64), recons[..., 0].astype(np.float64), strict=True)
    expected = [ssim(a, b) for a, b in pairs]
    np.testing.assert_allclose(quality["ssim"], expected, atol=1e-5)  # differences of float32 squares; c2 is 9e-4


def test_identical_images_have_mse_0_psnr_100_and_ssim_1(digits: np.ndarray) -> None:
    images = (digits[:3] / 255).astype(np.float32)
    quality = image_quality(images, images)
    assert quality["mse"].tolist() == [0, 0, 0]
    assert quality["psnr"].tolist() == [100, 100, 100]
    assert quality["ssim"] == pytest.approx([1, 1, 1])


def test_each_image_is_compared_with_its_own_reconstruction(digits: np.ndarray) -> None:
    images = (np.tile(digits, (4, 1, 1, 1))[:1001] / 255).astype(np.float32)  # more images than are compared at once
    whole, alone = image_quality(images, 1 - images), image_quality(images[1000:], 1 - images[1000:])
    for name, one in whole.items():
        assert len(one) == 1001
        np.testing.assert_array_equal(one[1000:], alone[name])


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_nearest_neighbours_take_a_majority_vote_with_ties_to_smallest_label() -> None:
    codes, labels = column(1, 2, 3, 4), np.array([9, 4, 4, 9], np.int32)  # fewer codes than neighbours
    assert nearest_neighbours(codes, labels, column(1.4)).tolist() == [4]
    codes, labels = column(0, 1, 2, 3, 4, 100), np.array([7, 7, 7, 3, 3, 3], np.int32)
    assert nearest_neighbours(codes, labels, column(2)).tolist() == [7]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_linear_probe_is_invariant_to_the_scale_of_the_codes(scale: float) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 600).astype(np.int32) * 5
    codes = random.normal(size=(600, 4)).astype(np.float32)
    codes[:, 0] += 4 * labels
    codes[:, 1] = 1  # a constant dimension
    expected = linear_probe(codes[:500], labels[:500], codes[500:])
    assert np.mean(expected == labels[500:]) > 0.95
    np.testing.assert_array_equal(linear_probe(scale * codes[:500], labels[:500], scale * codes[500:]), expected)


def test_linear_probe_trained_on_a_single_class_predicts_it() -> None:
    assert linear_probe(column(1, 2), np.array([3, 3], np.int32), column(5, 6, 7)).tolist() == [3, 3, 3]


def test_auroc_is_the_probability_of_a_higher_ood_score() -> None:
    def area(scores: list[float], ood_scores: list[float]) -> float:
        return auroc(np.array(scores, np.float32), np.array(ood_scores, np.float32))

    assert area([1, 2], [3, 4]) == 1
    assert area([3, 4], [1, 2]) == 0
    assert area([1, 1], [1]) == 0.5
    assert area([1, 3], [2, 4]) == 0.75
