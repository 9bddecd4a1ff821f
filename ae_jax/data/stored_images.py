"""Images in a file, read when they are asked for: for datasets that are larger than the memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int, Int64, UInt8

from ae_jax.errors import RunError
from ae_jax.types import HostImages

_SHAPE = (28, 28, 1)
_IMAGE_BYTES = 28 * 28
_ALIGNMENT = 64  # where an array begins at a multiple of so many bytes, JAX on a CPU takes it as it lies
_BLOCK = 1024  # images that one read spans at most
_GAP = 64  # unwanted images between two wanted ones that are read rather than skipped


class StoredImages:
    """As far as length, shape and indexing go the array `u8[n, 28, 28, 1]`; what is indexed is read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, offset: int, rows: Int64[np.ndarray, "n"]) -> None:
        """Of the images that lie one behind another in `path` from byte `offset` on, those at `rows`."""
        self._path, self._offset, self._rows = path, offset, rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return len(self), *_SHAPE

    @property
    def nbytes(self) -> int:
        """What the array would take."""
        return len(self) * _IMAGE_BYTES

    def __getitem__(self, index: slice | Int[np.ndarray, "m"]) -> HostImages:
        """The images at these places, in this order.

        Raises:
          RunError: the file has changed.
          OSError: it cannot be read.
        """
        rows = self._rows[index]
        images = _aligned(len(rows) * _IMAGE_BYTES).reshape(-1, _IMAGE_BYTES)
        order = np.argsort(rows, kind="stable")
        with self._path.open("rb", buffering=0) as file:
            for places in _spans(rows, order):
                first, last = rows[places[0]], rows[places[-1]]
                file.seek(self._offset + int(first) * _IMAGE_BYTES)
                block = file.read(int(last - first + 1) * _IMAGE_BYTES)
                if len(block) != (last - first + 1) * _IMAGE_BYTES:
                    raise RunError(f"{self._path} has become shorter; start again with a file that stays as it is.")
                images[places] = np.frombuffer(block, np.uint8).reshape(-1, _IMAGE_BYTES)[rows[places] - first]
        return images.reshape(-1, *_SHAPE)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


AnyImages: TypeAlias = UInt8[np.ndarray, "_ 28 28 1"] | StoredImages


def segments(images: AnyImages, size: int) -> Iterator[HostImages]:
    """All images in order, `size` at a time."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _aligned(nbytes: int) -> np.ndarray:
    """Uninitialised memory."""
    memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + nbytes]


def _spans(rows: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    """Cut the places in `rows`, ordered by row, where it is better to read anew than to read on."""
    by_row = rows[order]
    is_cut = (np.diff(by_row) > _GAP) | (np.diff(by_row // _BLOCK) > 0)
    for places in np.split(order, np.flatnonzero(is_cut) + 1):
        if len(places):
            yield places
