"""Commands that are called in this process."""

import contextlib
import io
import pkgutil
import sys
from collections.abc import Callable, Mapping
from unittest import mock

import pytest

from ae_jax.cli import Command, parse, with_flags
from ae_jax.commands import COMMANDS
from ae_jax.errors import InputError


def run_main(command: str, *args: object, commands: Mapping[str, Command] = COMMANDS) -> None:
    """Run a command with its arguments; exceptions propagate."""
    call = parse([command, *map(str, args)], commands)
    pkgutil.resolve_name(call.target)(**call.arguments)


def bad_input(command: str, *args: object, commands: Mapping[str, Command] = COMMANDS) -> str:
    """The error message of a command line that must be refused with exit code 2, as the user sees it."""
    with pytest.raises(InputError) as end:
        run_main(command, *args, commands=commands)
    return f"error: {with_flags(str(end.value), commands.get(command))}\n"


def bad_arguments(main: Callable[[], None], *args: str) -> str:
    """The line that a program prints for arguments that it must refuse with exit code 2."""
    out, err = io.StringIO(), io.StringIO()
    redirected = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with mock.patch.object(sys, "argv", ["", *args]), redirected[0], redirected[1], pytest.raises(SystemExit) as end:
        main()
    (line,) = err.getvalue().splitlines()
    assert (end.value.code, out.getvalue()) == (2, "")
    assert line.startswith("error: ")
    return line
