"""The ways in which a command ends badly through no fault of the code."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what and what to do. Scripts exit with 2."""


class DamagedFileError(InputError):
    """A file is not what was once written; the message names it."""


class RunError(RuntimeError):
    """A run could not go on; the message says why and what to do. Scripts exit with 1."""


class DivergedError(RunError):
    """A loss or a parameter is not finite."""
