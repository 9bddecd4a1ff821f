"""An exclusive lock on a directory, by `flock`."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ae_jax.errors import InputError

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
      InputError: another process, named in the message, holds the lock, or `folder` is not writable.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}).") from error
    try:
        _try_to_lock(descriptor, folder)
        with contextlib.suppress(OSError):  # the name is only for error messages, and the disk may be full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)  # releases the lock


def check_not_locked(folder: Path) -> None:
    """Raise `InputError` if another process holds the lock on `folder`."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
        try:
            _try_to_lock(descriptor, folder)
        finally:
            os.close(descriptor)


def _try_to_lock(descriptor: int, folder: Path) -> None:
    if not _CAN_LOCK:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 1000).decode(errors="replace") or "another process"
        raise InputError(f"{folder} is in use by {owner}; wait until it ends, or choose another --run-dir.") from None
    except OSError as error:
        _log.warning("%s cannot be locked (%s): make sure that no other process uses it.", folder, error.strerror)
