"""NumPy's `.npy` and `.npz` files, whose sizes are verified before memory is allocated.

`np.load` allocates what a header claims and unpacks all arrays of an archive, wanted or not.
"""

import contextlib
import dataclasses
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy

from ae_jax.errors import InputError
from ae_jax.system.regular_file import check_regular_file

_BLOCK = 2**20  # bytes that are unpacked at a time
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_ZIP_END = 22  # bytes of the record that ends a zip archive, with the number of its members
_MANY_MEMBERS = 2**16 - 1  # stands for more, which are in another record
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of numpy.savez and numpy.savez_compressed
# An array may unpack to _MAX_RATIO times its compressed size and _FREE_BYTES: MNIST deflates 5 to 1, zeros 1000 to 1.
_MAX_RATIO = 30
_FREE_BYTES = 200 * 2**20


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in a file of which only the header has been read."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]  # a memory map of a `.npy` file; raises `InputError` for corrupt content


@dataclasses.dataclass(frozen=True)
class _Header:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int  # of the first element

    @property
    def stop(self) -> int:
        """The position after the last element."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def array_names(path: Path) -> list[str]:
    """The names of the arrays of a `.npz` file, or "images" for a `.npy` file; the content decides, not the suffix.

    Raises:
      FileNotFoundError: there is no such file.
      InputError: it is not a regular file, or corrupt.
    """
    with _explained(path):
        if _is_npy(path):
            return ["images"]
        with zipfile.ZipFile(path) as archive:
            _check_directory(archive)
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def open_array(path: Path, name: str) -> StoredArray:
    """Read the header of one of `array_names`; raises `InputError` if it is corrupt or claims an implausible size."""
    with _explained(path):
        header = _npy_header(path) if _is_npy(path) else _member_header(path, f"{name}.npy")
    read = _map if _is_npy(path) else lambda path, header: _unpack(path, f"{name}.npy", header)

    def read_explained() -> np.ndarray:
        with _explained(path):
            return read(path, header)

    return StoredArray(header.dtype, header.shape, read_explained)


def _is_npy(path: Path) -> bool:
    check_regular_file(path)
    with path.open("rb") as file:
        return file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX


def _check_directory(archive: zipfile.ZipFile) -> None:
    """Raise an error unless the directory, which has no checksum, agrees with its length and the members' own names."""
    assert archive.fp
    archive.fp.seek(-_ZIP_END - len(archive.comment), os.SEEK_END)
    num_members = int.from_bytes(archive.fp.read(_ZIP_END)[10:12], "little")
    if num_members not in (len(archive.infolist()), _MANY_MEMBERS):
        raise ValueError(f"it lists {len(archive.infolist())} of {num_members} arrays")
    for member in archive.infolist():
        archive.open(member).close()


def _npy_header(path: Path) -> _Header:
    with path.open("rb") as file:
        header = _read_header(file)
    if header.stop != path.stat().st_size:
        raise ValueError(f"it is {'shorter' if header.stop > path.stat().st_size else 'longer'} than its header says")
    return header


def _member_header(path: Path, member: str) -> _Header:
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        if info.compress_type not in _COMPRESSIONS or info.flag_bits & 1:
            raise ValueError(f"{member} is encrypted or compressed in another way than by numpy.savez_compressed")
        packed = min(info.compress_size, path.stat().st_size)
        if info.file_size > _FREE_BYTES + _MAX_RATIO * packed:
            raise ValueError(f"{member} would unpack from {packed:,} to {info.file_size:,} bytes")
        with archive.open(info) as file:
            header = _read_header(file)
    if header.stop != info.file_size:
        raise ValueError(f"the size of {member} is not that of its header")
    return header


def _read_header(file: IO[bytes] | BufferedIOBase) -> _Header:
    version = npy.read_magic(file)
    if version not in _HEADER_READERS:
        raise ValueError(f"its version {version} is none of arrays of numbers")
    shape, is_fortran, dtype = _HEADER_READERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return _Header(dtype, shape, "F" if is_fortran else "C", file.tell())


def _map(path: Path, header: _Header) -> np.ndarray:
    return np.memmap(path, header.dtype, "r", header.offset, header.shape, header.order)


def _unpack(path: Path, member: str, header: _Header) -> np.ndarray:
    content, num_read = np.empty(header.stop - header.offset, np.uint8), 0
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        file.read(header.offset)
        for start in range(0, len(content), _BLOCK):
            block = np.frombuffer(file.read(min(_BLOCK, len(content) - start)), np.uint8)
            content[start : start + len(block)] = block
            num_read += len(block)
    if num_read != len(content):
        raise ValueError(f"{member} is truncated")
    return content.view(header.dtype).reshape(header.shape, order=header.order)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen types for malformed files
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise InputError(
            f"{path} cannot be read as arrays without pickle: {reason}. Save it with numpy.save or numpy.savez."
        ) from error
