"""What all commands share: settings from a command line, errors as sentences, exit codes."""

import argparse
import contextlib
import dataclasses
import logging
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from ae_jax.errors import InputError, RunError
from ae_jax.system.signals import Interrupted, ignore_signals, raise_on_signals

_METAVARS = {int: "N", float: "X"}


class _Parser(argparse.ArgumentParser):
    """argparse whose error is one sentence, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}. Try --help.\n")


class CommandLine(NamedTuple):
    """What was asked for."""

    config: Any  # the dataclass of settings
    given: dict[str, Any]  # those settings that the command line names, itself or by the recipe that it names
    switches: set[str]  # the names of those that are on


def parse(
    recipes: Mapping[str, Callable[..., Any]],
    description: str,
    args: Sequence[str] | None = None,
    *,
    switches: Mapping[str, str] | None = None,
) -> CommandLine:
    """A dataclass of settings from the command line: a flag a field, with the field's type, default and `help`.

    Fields without default are arguments by their place instead.

    Args:
      recipes: name → function from the settings that were given, as keywords, to the whole; the first is the default
        and the dataclass itself. Where there are several, `--recipe` chooses.
      description: what the command does.
      args: the command line, or None for the process's own.
      switches: further flags, which take no value: name → help.

    Raises:
      InputError: from the dataclass, for values that it refuses.
      SystemExit: 0 after `--help`, 2 for a command line that cannot be read.
    """
    default = next(iter(recipes))
    given = vars(_parser(recipes, description, switches or {}).parse_args(args))
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    on = {name for name in switches or {} if given.pop(name, False)}
    recipe = given.pop("recipe", None)
    config = recipes[recipe or default](**given)
    if recipe:
        given |= {name: getattr(config, name) for name in _told_apart(make(**given) for make in recipes.values())}
    return CommandLine(config, given, on)


def run_command(command: Callable[[], object]) -> NoReturn:
    """Run a script's body and leave the process: 0 done, 1 the run failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM."""
    raise_on_signals()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log shows an epoch when it ends
    log = logging.getLogger("ae_jax")
    log.addHandler(logging.StreamHandler(sys.stderr))
    log.setLevel(logging.INFO)
    log.propagate = False  # TFDS's absl gives the root logger a handler of its own
    try:
        command()
        sys.stdout.flush()
    except InputError as error:
        _leave(2, f"error: {error}")
    except RunError as error:
        _leave(1, f"error: {error}")
    except OSError as error:
        _leave(1, f"error: {error}.")
    except Interrupted as error:
        _say(str(error))
        os._exit(128 + error.signum)  # XLA may be compiling still, and Python's own end pulls the ground from under it
    ignore_signals()
    sys.exit(0)


def _leave(code: int, message: str) -> NoReturn:
    _say(message)
    os._exit(code)  # at once: threads may be at work, and other processes of the run waiting for this one


def _say(message: str) -> None:
    """Print the last words and let go of the streams."""
    ignore_signals()
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads it, or its disk is full; Python would try again at its end, and say so
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser(recipes: Mapping[str, Callable[..., Any]], description: str, switches: Mapping[str, str]) -> _Parser:
    """The flags that `parse` reads; what is not given has no value, because a recipe has to know what was."""
    default, config_class = next(iter(recipes.items()))
    parser = _Parser(
        description=description,
        formatter_class=_one_line_a_flag,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]
        _add_flag(parser, field, *_kind(hints[field.name]))
    if len(recipes) > 1:
        parser.add_argument("--recipe", choices=recipes, help=f"where the other defaults come from ({default})")
    for name, text in switches.items():
        parser.add_argument(f"--{name}", action="store_const", const=True, help=text)
    return parser


def _add_flag(
    parser: argparse.ArgumentParser, field: dataclasses.Field[Any], kind: type, choices: tuple[str, ...] | None
) -> None:
    """A field without default is an argument by its place, one that is true or false a flag without value."""
    name, text = f"--{field.name.replace('_', '-')}", field.metadata["help"]
    metavar = None if choices else _METAVARS.get(kind, field.name.split("_")[-1].upper())
    if isinstance(field.default, tuple):
        text += f" ({' '.join(map(str, field.default))})"
        parser.add_argument(name, type=kind, nargs="+", metavar=metavar, help=text)
    elif field.default is dataclasses.MISSING:
        parser.add_argument(field.name, type=kind, choices=choices, metavar=metavar, help=text)
    elif kind is bool:
        parser.add_argument(name, action="store_const", const=True, help=text)
    else:
        text += "" if field.default is None else f" ({field.default})"
        parser.add_argument(name, type=kind, choices=choices, metavar=metavar, help=text)


def _told_apart(configs: Iterable[Any]) -> set[str]:
    """The names of the settings in which they differ."""
    first, *others = map(vars, configs)
    return {name for name in first if any(other[name] != first[name] for other in others)}


def _kind(hint: Any) -> tuple[type, tuple[str, ...] | None]:
    """How a field's values are read, and the only ones it takes, if it says: `str | None` is `str`."""
    if typing.get_origin(hint) is typing.Literal:
        return str, typing.get_args(hint)
    return next((option for option in typing.get_args(hint) if option not in (types.NoneType, ...)), hint), None


def _one_line_a_flag(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=46, width=140)
