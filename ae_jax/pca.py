"""The linear baseline: what principal component analysis with a code of the same size leaves unexplained."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, UInt8

from ae_jax.types import HostImages

_CHUNK = 10_000  # images in float32 at a time


def pca_mse(train: HostImages, test: UInt8[np.ndarray, "m 28 28 1"], num_components: int) -> float:
    """Mean squared error per pixel of `test` rebuilt from its first principal components, pixels in [0, 1].

    Mean and components are those of `train`: of all linear codes of `num_components` numbers the one with the least
    error there (Eckart & Young 1936, "The approximation of one matrix by another of lower rank").

    Args:
      train: `u8[n, 28, 28, 1]`.
      test: `u8[m, 28, 28, 1]`.
      num_components: the size of the code, at most 784.
    """
    mean = (train.mean(0, dtype=np.float64).ravel() / 255).astype(np.float32)
    covariance = sum(chunk.T @ chunk for chunk in _centred(train, mean))
    _, vectors = np.linalg.eigh(covariance)
    components = vectors[:, -num_components:]
    errors = [
        np.square(chunk - chunk @ components @ components.T).sum(dtype=np.float64) for chunk in _centred(test, mean)
    ]
    return float(sum(errors) / test.size)


def _centred(images: HostImages, mean: Float32[np.ndarray, "784"]) -> Iterator[Float32[np.ndarray, "chunk 784"]]:
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        yield chunk.reshape(len(chunk), -1) / np.float32(255) - mean
