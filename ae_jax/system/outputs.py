"""Files that the user asks for: refused before the work, written whole after it."""

import os
from collections.abc import Sequence
from pathlib import Path

from ae_jax.errors import InputError, RunError
from ae_jax.system.atomic import write_whole

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


def check_output(path: str, flag: str, suffixes: Sequence[str] = (), *, replace: bool = True) -> None:
    """Raise `InputError` where `path` cannot be written, or ends in none of `suffixes`, or is not to be replaced."""
    if suffixes and Path(path).suffix not in suffixes:
        raise InputError(f"{flag} must end in {', '.join(suffixes)}, not {path}.")
    if Path(path).is_dir() or not os.access(Path(path).absolute().parent, os.W_OK):
        raise InputError(f"{path} cannot be written; give another file.")
    if not replace and os.path.lexists(path):
        raise InputError(f"{path} is there already, and nothing is overwritten; give another file.")


def check_folder(folder: Path) -> None:
    """Raise `InputError` where files cannot be written into `folder`, or into one that is made there."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"{folder} is no folder that can be written; give another one.")


def write_output(path: str | Path, content: bytes) -> None:
    """Write a file whole; `RunError` where that fails after all."""
    try:
        write_whole(Path(path), content)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}); give another file") from error
