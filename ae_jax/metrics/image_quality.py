"""Per-image reconstruction quality: mean squared error, PSNR and SSIM."""

from typing import NamedTuple

import dm_pix
import jax
import numpy as np
from jaxtyping import Float

from ae_jax.types import FloatImages

_CHUNK = 1000  # images per call of the compiled SSIM
_MIN_MSE = 1e-10  # caps the PSNR of equal images at 100 dB


class Quality(NamedTuple):
    """Quality metrics, one value per image."""

    mse: Float[np.ndarray, "n"]  # squared error, mean over pixels
    psnr: Float[np.ndarray, "n"]  # peak signal-to-noise ratio in dB: -10 log10(mse), at most 100
    ssim: Float[np.ndarray, "n"]  # structural similarity, 1 for equal images


def image_quality(images: FloatImages, recons: FloatImages) -> Quality:
    """Compare `images` with `recons`, both in [0, 1].

    SSIM follows Wang, Bovik, Sheikh & Simoncelli 2004: an 11×11 Gaussian window of standard deviation 1.5,
    K = (0.01, 0.03), averaged over all positions of the window inside the image.
    """
    ssim = np.concatenate([_ssim(*pair) for pair in zip(_chunks(images), _chunks(recons), strict=True)])[: len(images)]
    mse = squared_error(images, recons)
    return Quality(mse, -10 * np.log10(np.maximum(mse, _MIN_MSE)), ssim)


def squared_error(images: FloatImages, recons: FloatImages) -> Float[np.ndarray, "n"]:
    """Squared error of each image, averaged over its pixels."""
    return np.square(recons - images).mean(axis=(1, 2, 3), dtype=np.float64)


_ssim = jax.jit(dm_pix.ssim)


def _chunks(images: FloatImages) -> Float[np.ndarray, "chunks size 28 28 1"]:
    """Chunks of equal size, zero-padded, so that all share one compilation."""
    size = min(_CHUNK, len(images))
    padded = np.pad(images, ((0, -len(images) % size), (0, 0), (0, 0), (0, 0)))
    return padded.reshape(-1, size, 28, 28, 1)
