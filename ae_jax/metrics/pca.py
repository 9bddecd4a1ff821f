"""Principal component analysis (PCA), the linear baseline of the same latent dimension."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float32, UInt8
from threadpoolctl import threadpool_limits

from ae_jax.data.batching import check_pixel_type
from ae_jax.types import Pixels

_CHUNK = 2000  # images converted to float32 at a time


class Pca(NamedTuple):
    """Principal components: the linear autoencoder of latent dimension `k` with the least squared error.

    Eckart & Young 1936, "The approximation of one matrix by another of lower rank".
    """

    mean: Float32[np.ndarray, "784"]
    components: Float32[np.ndarray, "784 k"]  # orthonormal columns, in order of decreasing variance

    def encode(self, images: Pixels) -> Float32[np.ndarray, "n k"]:
        """Encode `u8[n, 28, 28, 1]` → `f32[n, k]`."""
        return np.concatenate([chunk @ self.components for chunk in _centred(images, self.mean)])

    def decode(self, codes: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n 28 28 1"]:
        """Decode `f32[n, k]` → `f32[n, 28, 28, 1]`; values may lie slightly outside [0, 1]."""
        return (codes @ self.components.T + self.mean).reshape(-1, 28, 28, 1)


def fit_pca(train: Pixels, num_components: int) -> Pca:
    """Fit the first `num_components` (at most 784) principal components of `u8[n, 28, 28, 1]`, scaled to [0, 1]."""
    total = np.asarray(train).reshape(-1, 784).sum(0, dtype=np.int64)
    mean = (total / len(train) / 255).astype(np.float32)
    covariance = sum(chunk.T @ chunk for chunk in _centred(train, mean))
    first, last = max(len(mean) - num_components, 0), len(mean) - 1
    # One BLAS thread: on two busy cores, two took 3 to 35 times as long, and no other Python thread runs meanwhile.
    with threadpool_limits(1, "blas"):
        _, vectors = scipy.linalg.eigh(covariance, subset_by_index=(first, last))
    return Pca(mean, vectors[:, ::-1])


def pca_mse(train: Pixels, test: UInt8[np.ndarray, "m 28 28 1"], num_components: int) -> float:
    """Mean squared error per pixel of PCA, fitted to `train u8[n, 28, 28, 1]`, on `test u8[m, 28, 28, 1]`.

    Pixels are scaled to [0, 1]; more than 784 components have no further effect. `ValueError` for other dtypes.
    """
    mean, components = fit_pca(train, num_components)
    errors = [np.square(x - x @ components @ components.T).sum(dtype=np.float64) for x in _centred(test, mean)]
    return float(sum(errors) / np.prod(test.shape))


def _centred(images: Pixels, mean: Float32[np.ndarray, "784"]) -> Iterator[Float32[np.ndarray, "chunk 784"]]:
    check_pixel_type(images.dtype)
    for start in range(0, len(images), _CHUNK):
        yield np.asarray(images[start : start + _CHUNK]).reshape(-1, 784) / np.float32(255) - mean
