"""Files that are there whole or not at all, whatever stops the process or the machine in between."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

ABANDONED_SECONDS = 3600.0  # a temporary file that nothing has been written to for so long is nobody's


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, then rename: readers see the old file or the new one, nothing between.

    When this returns, the file and its name are on the disk: they outlast a power cut.

    Raises:
      OSError: the folder cannot be written to; `path` is as it was, and nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _errors_that_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(temporary, content, os.O_TRUNC)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file and have it on the disk when this returns; killed meanwhile, part of it may be there.

    Raises:
      OSError: the file cannot be written to.
    """
    with _errors_that_name(path):
        _write(path, (line + "\n").encode(), os.O_APPEND)


def remove_temporaries(folder: Path, *, older_than: float = float("inf")) -> None:
    """Delete what `write_whole` left in `folder` when its process was killed.

    Args:
      folder: where to look; it need not exist.
      older_than: leave files changed at this time, in seconds since 1970, or later: a process may be at them.
    """
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < older_than:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk."""
    if os.name == "nt":  # which cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | mode | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _errors_that_name(path: Path) -> Iterator[None]:
    """Errors name `path`: of a full disk the system knows only a descriptor, of a rename both files."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
