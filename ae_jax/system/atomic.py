"""Atomic, durable file writes: a crash or power failure leaves the old file or the new one."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ae_jax.system.signals import uninterrupted

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag
ABANDONED_SECONDS = 3600.0  # age of the last write after which no process can still be writing a temporary file


def write_atomic(path: Path, content: bytes) -> None:
    """Write a temporary file, fsync it and rename it to `path`: readers see either the old file or the new one.

    Raises:
      OSError: the write failed, or the folder does not exist; `path` is unchanged and the temporary file removed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with uninterrupted(), _path_in_errors(path):
        try:
            _write(temporary, content, os.O_CREAT | os.O_EXCL | NO_FOLLOW)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file and fsync it; an interrupted write may leave part of the line."""
    with uninterrupted(), _path_in_errors(path):
        _write(path, (line + "\n").encode(), os.O_CREAT | os.O_APPEND)


def remove_temporaries(folder: Path, *, older_than: float = float("inf")) -> None:
    """Delete the temporary files that a killed `write_atomic` left in `folder`, which need not exist.

    Files modified at or after the Unix time `older_than` are kept: a process may still be writing them.
    """
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < older_than:
                path.unlink()


def sync_directory(folder: Path) -> None:
    """Flush the directory entries of `folder` to disk."""
    if os.name == "nt":  # Windows cannot open directories
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | mode | getattr(os, "O_BINARY", 0), 0o666)
    try:
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[os.write(descriptor, remaining) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _path_in_errors(path: Path) -> Iterator[None]:
    """Make every `OSError` of the system name `path`: a failed write names no file, a failed rename names two."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else a file name would hide the message
            error.filename = str(path)
            del error.filename2  # None would be part of the message: 'path' -> None
        raise
