"""The linear baseline: principal component analysis with a code of the same size."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float32

from ae_jax.data.stored_images import AnyImages, segments
from ae_jax.types import HostImages

_PIECE = 2000  # images in float32 at a time


class Pca(NamedTuple):
    """The first principal components of a dataset: of all linear codes of `k` numbers the one with the least error.

    Eckart & Young 1936, "The approximation of one matrix by another of lower rank".
    """

    mean: Float32[np.ndarray, "784"]
    components: Float32[np.ndarray, "784 k"]  # orthonormal columns, the one that explains most first

    def encode(self, images: HostImages) -> Float32[np.ndarray, "n k"]:
        """`u8[n, 28, 28, 1]` → `f32[n, k]`."""
        return np.concatenate([piece @ self.components for piece in _centred(images, self.mean)])

    def decode(self, codes: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n 28 28 1"]:
        """`f32[n, k]` → `f32[n, 28, 28, 1]`, which may leave [0, 1] a little."""
        return (codes @ self.components.T + self.mean).reshape(-1, 28, 28, 1)


def fit_pca(train: AnyImages, num_components: int) -> Pca:
    """The first `num_components` principal components, or all 784, of `u8[n, 28, 28, 1]`, pixels in [0, 1]."""
    total = sum(piece.sum(0, dtype=np.int64) for piece in segments(train, _PIECE))
    mean = (np.ravel(total) / len(train) / 255).astype(np.float32)
    covariance = sum(piece.T @ piece for piece in _centred(train, mean))
    num_pixels = len(mean)
    _, vectors = scipy.linalg.eigh(covariance, subset_by_index=(max(num_pixels - num_components, 0), num_pixels - 1))
    return Pca(mean, vectors[:, ::-1])


def pca_mse(train: AnyImages, test: AnyImages, num_components: int) -> float:
    """Mean squared error per pixel of `test` rebuilt from its first principal components, pixels in [0, 1].

    Args:
      train: `u8[n, 28, 28, 1]`, whose mean and components they are.
      test: `u8[m, 28, 28, 1]`.
      num_components: the size of the code; what exceeds 784 adds nothing.
    """
    _, components = pca = fit_pca(train, num_components)
    errors = [
        np.square(piece - piece @ components @ components.T).sum(dtype=np.float64) for piece in _centred(test, pca.mean)
    ]
    return float(sum(errors) / np.prod(test.shape))


def _centred(images: AnyImages, mean: Float32[np.ndarray, "784"]) -> Iterator[Float32[np.ndarray, "piece 784"]]:
    for piece in segments(images, _PIECE):
        yield piece.reshape(len(piece), -1) / np.float32(255) - mean
