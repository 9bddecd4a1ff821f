"""Images in a file, read when indexed: for datasets larger than memory.

`np.memmap` trains no faster, counts the whole file as resident memory, reads up to five times as much from a cold disk,
and a file that is truncated meanwhile kills the process.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int, Int64, UInt8

from ae_jax.errors import RunError
from ae_jax.types import HostImages

_SHAPE = (28, 28, 1)
_IMAGE_BYTES = 28 * 28
_ALIGNMENT = 64  # bytes; JAX on a CPU shares the memory of an array that is so aligned instead of copying it
_BLOCK = 1024  # most images that one read spans
_GAP = 64  # most images between two wanted ones that are read rather than skipped


class StoredImages:
    """A read-only view of `u8[n, 28, 28, 1]` in a file; indexing it reads the images."""

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, offset: int, rows: Int64[np.ndarray, "n"]) -> None:
        """View the images `rows` of the contiguous array that starts at byte `offset` of `path`."""
        self._path, self._offset, self._rows = path, offset, rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return len(self), *_SHAPE

    @property
    def nbytes(self) -> int:
        """The size of the array."""
        return len(self) * _IMAGE_BYTES

    def __getitem__(self, index: slice | Int[np.ndarray, "m"]) -> HostImages:
        """Read the images at these positions, in this order.

        Raises:
          RunError: the file has become shorter.
          OSError: the file cannot be read.
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
                    raise RunError(f"{self._path} has become shorter; start again with a file that does not change.")
                images[places] = np.frombuffer(block, np.uint8).reshape(-1, _IMAGE_BYTES)[rows[places] - first]
        return images.reshape(-1, *_SHAPE)

    def part(self, rows: slice) -> "StoredImages":
        """A view of some of the images; nothing is read."""
        return StoredImages(self._path, self._offset, self._rows[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


AnyImages: TypeAlias = UInt8[np.ndarray, "_ 28 28 1"] | StoredImages


def part(images: AnyImages, rows: slice) -> AnyImages:
    """A view of some of the images; nothing is read or copied."""
    return images.part(rows) if isinstance(images, StoredImages) else images[rows]


def segments(images: AnyImages, size: int) -> Iterator[HostImages]:
    """Yield all images in order, `size` at a time."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _aligned(nbytes: int) -> np.ndarray:
    """Uninitialised, aligned memory."""
    memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + nbytes]


def _spans(rows: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    """Split the positions in `rows`, ordered by row, into groups that one read each should cover."""
    by_row = rows[order]
    is_cut = (np.diff(by_row) > _GAP) | (np.diff(by_row // _BLOCK) > 0)
    for places in np.split(order, np.flatnonzero(is_cut) + 1):
        if len(places):
            yield places
