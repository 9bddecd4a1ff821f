"""Exceptions that commands report as one-line errors."""

_MAX_LENGTH = 4000  # characters of a message: what a file claims may be of any length


class InputError(ValueError):
    """Invalid user input; the message says what is wrong and what to do. Scripts exit with code 2.

    The message is one line: it may quote files, whose control characters are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message[:_MAX_LENGTH]))


class DamagedFileError(InputError):
    """A corrupt file, named in the message."""


class RunError(RuntimeError):
    """Failure of a run; the message says why and what to do. Scripts exit with code 1."""


class DivergedError(RunError):
    """A non-finite loss or parameter."""


def one_line(text: str) -> str:
    """Escape line breaks and what else cannot be printed, as Python does; escaped text stays as it is."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def reason(error: OSError) -> str:
    """The system's words for an error, or, where a library has raised it with words alone, those."""
    return error.strerror or str(error)
