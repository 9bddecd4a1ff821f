"""Exceptions that commands report as one-line errors."""


class InputError(ValueError):
    """Invalid user input; the message says what is wrong and what to do. Scripts exit with code 2."""


class DamagedFileError(InputError):
    """A corrupt file, named in the message."""


class RunError(RuntimeError):
    """Failure of a run; the message says why and what to do. Scripts exit with code 1."""


class DivergedError(RunError):
    """A non-finite loss or parameter."""


def reason(error: OSError) -> str:
    """The system's words for an error, or, where a library has raised it with words alone, those."""
    return error.strerror or str(error)
