"""Commands that are called in this process."""

import pkgutil
from collections.abc import Mapping

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
