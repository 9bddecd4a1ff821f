"""An exclusive lock on a directory, by `flock`."""

import contextlib
import logging
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from ae_jax.errors import InputError, reason
from ae_jax.system.atomic import NO_FOLLOW

try:
    import fcntl
except ImportError:  # on Windows, where directories are not locked
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

LOCK_FILE = ".lock"
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock `folder` for the duration of the block; the OS releases the lock if the process dies.

    Raises:
      InputError: another process, named in the message, holds the lock, `folder` is not writable, or the lock file is
        a symlink or another special file.
    """
    try:
        descriptor = _open(folder, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({reason(error)}); choose another directory.") from error
    try:
        _try_to_lock(descriptor, folder)
        with contextlib.suppress(OSError):  # the name is only for error messages, and the disk may be full
            os.ftruncate(descriptor, 0)
            with open(descriptor, "w", closefd=False) as file:
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        os.close(descriptor)  # releases the lock


def check_not_locked(folder: Path) -> None:
    """Raise `InputError` if another process holds the lock on `folder`."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        descriptor = _open(folder, os.O_RDONLY)
        try:
            _try_to_lock(descriptor, folder)
        finally:
            os.close(descriptor)


def _open(folder: Path, mode: int) -> int:
    """Open the lock file; do not follow a symlink, whose target would be truncated, and do not wait at a FIFO."""
    path = folder / LOCK_FILE
    _check_regular(path)
    return os.open(path, mode | NO_FOLLOW | getattr(os, "O_NONBLOCK", 0), 0o666)


def _check_regular(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InputError(f"{path} is not a regular file; delete it or choose another --run-dir.")


def _try_to_lock(descriptor: int, folder: Path) -> None:
    if not _CAN_LOCK:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 1000).decode(errors="replace") or "another process"
        raise InputError(f"{folder} is in use by {owner}; wait until it ends, or choose another --run-dir.") from None
    except OSError as error:
        _log.warning("%s cannot be locked (%s): make sure that no other process uses it.", folder, reason(error))
