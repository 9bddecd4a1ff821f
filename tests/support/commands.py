"""Commands that are called in this process."""

import contextlib
import io
import runpy
import sys
from pathlib import Path
from unittest import mock

import pytest

from ae_jax import commands
from ae_jax.errors import InputError

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run_main(script: str, *args: object) -> None:
    """Run the command of a script with a command line; exceptions propagate."""
    command = getattr(commands, script.removesuffix(".py"), None) or runpy.run_path(str(SCRIPTS / script))["main"]
    with mock.patch.object(sys, "argv", [script, *map(str, args)]):
        command()


def bad_input(script: str, *args: object) -> str:
    """The error message of a command line that must be refused with exit code 2, as the user sees it."""
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), pytest.raises((InputError, SystemExit)) as end:
        run_main(script, *args)
    if isinstance(end.value, InputError):
        return f"error: {end.value}\n"
    assert end.value.code == 2
    return stderr.getvalue()
