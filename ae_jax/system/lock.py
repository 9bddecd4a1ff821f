"""A folder for one process at a time."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ae_jax.errors import InputError

try:
    import fcntl
except ImportError:  # on Windows, where folders are not locked
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

LOCK_FILE = ".lock"
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` until the end of the block, or of the process, however it ends.

    Raises:
      InputError: another process holds it, which the message names, or it cannot be written to.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}).") from error
    try:
        _acquire(descriptor, folder)
        yield
    finally:
        os.close(descriptor)  # which releases it


def refuse_in_use(folder: Path) -> None:
    """Raise `InputError` where another process holds `folder`; nothing is changed."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
        try:
            _try_to_lock(descriptor, folder)
        finally:
            os.close(descriptor)


def _acquire(descriptor: int, folder: Path) -> None:
    _try_to_lock(descriptor, folder)
    with contextlib.suppress(OSError):  # on a full disk the process has no name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _try_to_lock(descriptor: int, folder: Path) -> None:
    if not _CAN_LOCK:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 1000).decode(errors="replace") or "another process"
        raise InputError(f"{folder} is in use by {owner}; wait until it ends, or give another --run-dir.") from None
    except OSError as error:
        _log.warning("%s cannot be locked (%s): see to it that no other process uses it.", folder, error.strerror)
