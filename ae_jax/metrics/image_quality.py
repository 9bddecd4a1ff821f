"""How alike two pictures are: mean squared error, PSNR and SSIM, image by image."""

from typing import NamedTuple

import dm_pix
import jax
import numpy as np
from jaxtyping import Float

_CHUNK = 1000  # images at a time
_LEAST_MSE = 1e-10  # so that equal images have 100 dB, not infinitely many


class Quality(NamedTuple):
    """One value an image."""

    mse: Float[np.ndarray, "n"]  # squared error, mean over pixels
    psnr: Float[np.ndarray, "n"]  # peak signal-to-noise ratio in dB: -10 log10(mse), at most 100
    ssim: Float[np.ndarray, "n"]  # structural similarity, 1 for equal images


def image_quality(images: Float[np.ndarray, "n 28 28 1"], recons: Float[np.ndarray, "n 28 28 1"]) -> Quality:
    """Compare `images` with `recons`, both in [0, 1].

    SSIM is that of Wang, Bovik, Sheikh & Simoncelli 2004: an 11×11 Gaussian window of standard deviation 1.5,
    K = (0.01, 0.03), the mean over all places where the window fits.
    """
    pairs = zip(_chunks(images), _chunks(recons), strict=True)
    ssim = np.concatenate([_ssim(*pair) for pair in pairs])[: len(images)]
    mse = squared_error(images, recons)
    return Quality(mse, -10 * np.log10(np.maximum(mse, _LEAST_MSE)), ssim)


def squared_error(
    images: Float[np.ndarray, "n 28 28 1"], recons: Float[np.ndarray, "n 28 28 1"]
) -> Float[np.ndarray, "n"]:
    """The mean over each image's pixels."""
    return np.square(recons - images).mean(axis=(1, 2, 3), dtype=np.float64)


_ssim = jax.jit(dm_pix.ssim)


def _chunks(images: Float[np.ndarray, "n 28 28 1"]) -> Float[np.ndarray, "chunks size 28 28 1"]:
    """Equal chunks, filled up with zeros, so that all are one program."""
    size = min(_CHUNK, len(images))
    filled = np.pad(images, ((0, -len(images) % size), (0, 0), (0, 0), (0, 0)))
    return filled.reshape(-1, size, 28, 28, 1)
