"""User-requested output files: validated up front, written atomically."""

import os
from collections.abc import Sequence
from pathlib import Path

from ae_jax.errors import InputError, RunError
from ae_jax.system.atomic import write_atomic

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


def check_output(path: str, flag: str, suffixes: Sequence[str] = (), *, replace: bool = True) -> None:
    """Raise `InputError` if `path` is not writable, ends in none of `suffixes`, or exists and must not be replaced."""
    if suffixes and Path(path).suffix not in suffixes:
        raise InputError(f"{flag} must end in {', '.join(suffixes)}, not {path}.")
    if Path(path).is_dir() or not os.access(Path(path).absolute().parent, os.W_OK):
        raise InputError(f"{path} cannot be written; choose another file.")
    if not replace and os.path.lexists(path):
        raise InputError(f"{path} already exists, and nothing is overwritten; choose another file.")


def check_output_dir(folder: Path) -> None:
    """Raise `InputError` unless `folder` is a writable directory, or one can be created there."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"{folder} is not a writable directory; choose another.")


def write_output(path: str | Path, content: bytes) -> None:
    """Write a file atomically; raise `RunError` if that fails."""
    try:
        write_atomic(Path(path), content)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}); choose another file") from error
