"""What all commands share: settings from a command line, errors as sentences, exit codes."""

import argparse
import dataclasses
import logging
import signal
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from ae_jax.errors import InputError, RunError

_METAVARS = {int: "N", float: "X"}


class _Parser(argparse.ArgumentParser):
    """argparse whose error is one sentence, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}. Try --help.\n")


def parse(recipes: Mapping[str, Callable[..., Any]], description: str, args: Sequence[str] | None = None) -> Any:
    """A dataclass of settings from the command line: a flag a field, with the field's type, default and `help`.

    Args:
      recipes: name → function from the settings that were given, as keywords, to the whole; the first is the default
        and the dataclass itself. Where there are several, `--recipe` chooses.
      description: what the command does.
      args: the command line, or None for the process's own.

    Raises:
      InputError: from the dataclass, for values that it refuses.
      SystemExit: 0 after `--help`, 2 for a command line that cannot be read.
    """
    default, config_class = next(iter(recipes.items()))
    parser = _Parser(description=description, formatter_class=_one_line_a_flag, allow_abbrev=False)
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]
        kind, choices = _kind(hints[field.name])
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            choices=choices,
            default=argparse.SUPPRESS,  # a recipe has to know what was given
            metavar=None if choices else _METAVARS.get(kind, field.name.split("_")[-1].upper()),
            help=field.metadata["help"] + ("" if field.default is None else f" ({field.default})"),
        )
    if len(recipes) > 1:
        parser.add_argument(
            "--recipe", choices=recipes, default=default, help="where the other defaults come from (%(default)s)"
        )
    given = vars(parser.parse_args(args))
    return recipes[given.pop("recipe", default)](**given)


def run_command(command: Callable[[], object]) -> NoReturn:
    """Run a script's body and leave the process: 0 done, 1 the run failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log shows an epoch when it ends
    log = logging.getLogger("ae_jax")
    log.addHandler(logging.StreamHandler(sys.stderr))
    log.setLevel(logging.INFO)
    try:
        command()
    except InputError as error:
        _leave(2, f"error: {error}")
    except RunError as error:
        _leave(1, f"error: {error}")
    except KeyboardInterrupt:
        _leave(130, "Interrupted.")
    sys.exit(0)


def _terminate(signum: int, frame: types.FrameType | None) -> NoReturn:
    _leave(143, "Terminated.")


def _leave(code: int, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def _kind(hint: Any) -> tuple[type, tuple[str, ...] | None]:
    """How a field's values are read, and the only ones it takes, if it says: `str | None` is `str`."""
    if typing.get_origin(hint) is typing.Literal:
        return str, typing.get_args(hint)
    return next((option for option in typing.get_args(hint) if option is not types.NoneType), hint), None


def _one_line_a_flag(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=46, width=140)
