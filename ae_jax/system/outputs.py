"""User-requested output files: validated up front, written atomically.

A file that the user names is new: an existing one is refused. A symlink stays and its target is created; a device or a
FIFO is written into.
"""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from ae_jax.errors import InputError, RunError, reason
from ae_jax.system.atomic import write_atomic

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


def check_output(path: str | Path, flag: str, suffixes: Sequence[str] = ()) -> None:
    """Raise `InputError` if `path` is empty, exists, is not writable, or ends in none of `suffixes`."""
    if not str(path):
        raise InputError(f"{flag} is empty; give the path of a file.")
    if suffixes and Path(path).suffix not in suffixes:
        raise InputError(f"{flag} must end in {', '.join(suffixes)}, not {path}.")
    target = os.path.realpath(path)
    writable = os.access(path, os.W_OK) if _is_stream(path) else _is_writable_dir(os.path.dirname(target))
    if os.path.isdir(target) or not writable:
        raise InputError(f"{path} cannot be written; choose another file.")
    if not _is_stream(path) and os.path.lexists(target):
        raise InputError(f"{path} already exists, and nothing is overwritten; choose another file.")


def check_distinct(outputs: Mapping[str, str | None]) -> None:
    """Raise `InputError` if two flags name the same file; `outputs` are flag -> path, None if not given."""
    flags: dict[str, str] = {}
    for flag, path in outputs.items():
        if path and not _is_stream(path):
            other = flags.setdefault(os.path.realpath(path), flag)
            if other != flag:
                raise InputError(f"{other} and {flag} are both {path}; give two different files.")


def check_output_dir(folder: Path) -> None:
    """Raise `InputError` unless `folder` is a writable directory, or one can be created there."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not _is_writable_dir(existing):
        raise InputError(f"{folder} is not a writable directory; choose another.")


def make_output_dir(folder: Path) -> None:
    """Create a directory and its parents, or accept it; raises `InputError` if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be created ({reason(error)}); choose another directory.") from error


def write_output(path: str | Path, content: bytes) -> None:
    """Write a file that the user has named, atomically unless it is a device or a FIFO.

    Raises:
      RunError: the write failed, or the file has come into existence since `check_output`.
    """
    try:
        if _is_stream(path):
            Path(path).write_bytes(content)
        else:
            _write_new(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise _write_error(path, error) from error


def replace_output(path: Path, content: bytes) -> None:
    """Write a file at a default path, or replace it; a symlink is not followed. Raises `RunError` if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        raise _write_error(path, error) from error


def _write_new(path: Path, content: bytes) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    write_atomic(path, content)


def _write_error(path: str | Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be written ({reason(error)}); choose another file.")


def _is_stream(path: str | Path) -> bool:
    """Whether `path` is, or links to, a device or a FIFO."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISFIFO(mode)


def _is_writable_dir(path: str | Path) -> bool:
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)
