"""Exceptions that commands report as one-line errors, and the reading of files that may be corrupt.

A message names an argument in backticks, such as `data_dir`; the command line prints it as its flag, --data-dir.
"""

import contextlib
import os
from collections.abc import Iterator


class InputError(ValueError):
    """Invalid user input; the message says what is wrong and what to do. Commands exit with code 2."""


class CorruptFileError(InputError):
    """A file that cannot be read, named in the message."""


class RunError(RuntimeError):
    """Failure of a run; the message says why and what to do. Commands exit with code 1."""


class DivergedError(RunError):
    """A non-finite loss or parameter."""


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], advice: str = "") -> Iterator[None]:
    """Turn what reading a file raises, but `InputError`, into a `CorruptFileError`: FILE cannot be read: …. ADVICE."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise CorruptFileError(f"{os.fspath(path)} cannot be read: {reason(error)}. {advice}".strip()) from error


def reason(error: Exception) -> str:
    """The cause in one line: strerror, or the first line of the exception's text."""
    lines = (getattr(error, "strerror", None) or str(error)).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
