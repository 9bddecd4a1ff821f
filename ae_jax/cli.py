"""Shared command-line code: dataclass -> argparse, one-line errors, exit codes."""

import argparse
import contextlib
import dataclasses
import logging
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from ae_jax import __version__
from ae_jax.config import GROUPS
from ae_jax.errors import InputError, RunError, one_line
from ae_jax.system.compilation_cache import disable_compilation_cache, use_compilation_cache
from ae_jax.system.home import matplotlib_dir
from ae_jax.system.signals import Interrupted, exit_on_signals, ignore_signals
from ae_jax.system.terminal import lock_bars_by_thread, make_streams_safe

Config = TypeVar("Config")

_METAVARS = {int: "N", float: "X"}


class TrainingCommand(NamedTuple):
    """The command line of a command that trains."""

    config: Any  # the dataclass of settings
    given: dict[str, Any]  # the settings that the command line names, itself or through a recipe
    resume: bool


def parse(config_class: Callable[..., Config], description: str, args: Sequence[str] | None = None) -> Config:
    """Read a dataclass of settings from the command line.

    Each field is a flag with the field's type, default and `help`; fields without default are positional arguments.

    Args:
      config_class: the dataclass.
      description: what the command does.
      args: the command line; None: that of the process.

    Raises:
      InputError: the dataclass refuses a value.
      SystemExit: with code 0 after `--help`, 2 for a command line that cannot be parsed.
    """
    parser, _ = _make_parser(config_class, description)
    return config_class(**_read(parser, args))


def parse_training(
    recipes: Mapping[str, Callable[..., Any]], description: str, args: Sequence[str] | None = None
) -> TrainingCommand:
    """Read the command line of a command that also takes `--resume` and, with several recipes, `--recipe`.

    Args:
      recipes: name -> function from the given settings, as keywords, to all settings. The first is the default recipe
        and the dataclass itself.
      description: what the command does.
      args: the command line; None: that of the process.
    """
    default, config_class = next(iter(recipes.items()))
    parser, groups = _make_parser(config_class, description)
    everyday = groups["everyday"]
    if len(recipes) > 1:
        everyday.add_argument(
            "--recipe", choices=recipes, help=f"preset of the settings that are not given ({default})"
        )
    everyday.add_argument(
        "--resume",
        action="store_const",
        const=True,
        help="resume --run-dir (default: the only run of --arch) from its newest valid checkpoint",
    )
    given = _read(parser, args)
    resume = given.pop("resume", False)
    recipe = given.pop("recipe", None)
    config = recipes[recipe or default](**given)
    names = given.keys() | (_differing_fields(make(**given) for make in recipes.values()) if recipe else set())
    return TrainingCommand(config, {name: getattr(config, name) for name in names}, resume)


def choose_command(summaries: Mapping[str, str]) -> str:
    """Read the name of a command, one of `summaries`, and leave its arguments in `sys.argv`.

    Raises:
      SystemExit: with code 0 after `--help`, 2 for another name or none.
    """
    width = max(map(len, summaries))
    parser = _Parser(
        prog="ae-jax",
        description="MNIST autoencoders in JAX.",
        epilog="\n".join(("commands:", *(f"  {name:{width}}  {text}" for name, text in summaries.items()))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_version(parser)
    parser.add_argument("command", choices=summaries, metavar="COMMAND", help="with --help: its settings")
    name = parser.parse_args(sys.argv[1:2]).command
    sys.argv = [f"ae-jax {name}", *sys.argv[2:]]
    return name


def run_command(command: Callable[[], object]) -> NoReturn:
    """Run a command and exit: 0 done, 1 the run failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM."""
    make_streams_safe()
    exit_on_signals()
    log = logging.getLogger("ae_jax")
    log.addHandler(logging.StreamHandler(sys.stderr))
    log.setLevel(logging.INFO)
    log.propagate = False  # TFDS's absl gives the root logger a handler of its own
    try:
        with matplotlib_dir():
            command()
        sys.stdout.flush()
    except InputError as error:
        _exit_now(2, f"error: {error}")
    except RunError as error:
        _exit_now(1, f"error: {error}")
    except OSError as error:
        _exit_now(1, f"error: {error}.")
    except Interrupted as error:
        _exit_now(128 + error.signum, str(error))
    _exit_now(0)


def _exit_now(code: int, message: str = "") -> NoReturn:
    """Exit without Python's shutdown, which takes 0.4 s: XLA's threads may be busy, and other processes may wait."""
    ignore_signals()
    with contextlib.suppress(OSError):
        print(one_line(message), end="\n" if message else "", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads the stream, or its disk is full
            stream.flush()
    os._exit(code)


class _Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors, without the usage above them."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {one_line(message)}. Try --help.\n")


def _make_parser(config_class: Any, description: str) -> tuple[_Parser, dict[str, argparse._ArgumentGroup]]:
    """The parser of a dataclass and its groups; settings that are not given get no value: a recipe must know them."""
    parser = _Parser(
        prog=os.path.basename(sys.argv[0]),
        description=description,
        formatter_class=_one_line_per_flag,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    _add_version(parser)
    parser.add_argument(
        "--no-compilation-cache",
        action="store_const",
        const=True,
        help="compile anew; default: keep compiled programs in ~/.cache/ae_jax",
    )
    fields = dataclasses.fields(config_class)
    hints = typing.get_type_hints(config_class)
    groups = {name: parser.add_argument_group(name) for name in GROUPS if name in map(_group, fields)}
    for field in fields:
        _add_flag(groups.get(_group(field), parser), field, *_kind(field, hints[field.name]))
    return parser, groups


def _add_version(parser: _Parser) -> None:
    parser.add_argument("--version", action="version", version=f"ae_jax {__version__}")


def _group(field: dataclasses.Field[Any]) -> Any:
    return field.metadata.get("group")


def _read(parser: _Parser, args: Sequence[str] | None) -> dict[str, Any]:
    """Parse the arguments, and set up what the command will import: JAX's compilation cache, progress bars."""
    given = vars(parser.parse_args(args))
    if given.pop("no_compilation_cache", False):
        disable_compilation_cache()
    else:
        use_compilation_cache()
    lock_bars_by_thread()
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _add_flag(
    parser: argparse._ActionsContainer,
    field: dataclasses.Field[Any],
    kind: Callable[[str], Any],
    choices: tuple[str, ...] | None,
) -> None:
    """Add a field: without default as a positional argument, a bool as a flag without value."""
    name, text = f"--{field.name.replace('_', '-')}", field.metadata["help"]
    metavar = None if choices else _METAVARS.get(kind, field.name.split("_")[-1].upper())  # type: ignore[call-overload]
    if field.default is dataclasses.MISSING:
        parser.add_argument(field.name, type=kind, choices=choices, metavar=metavar, help=text)
    elif kind is bool:
        parser.add_argument(name, action="store_const", const=True, help=text)
    elif kind is not str and isinstance(field.default, tuple):
        text += f" ({' '.join(map(str, field.default))})"
        parser.add_argument(name, type=kind, nargs="+", metavar=metavar, help=text)
    else:
        text += "" if field.default is None else f" ({field.default})"
        parser.add_argument(name, type=kind, choices=choices, metavar=metavar, help=text)


def _differing_fields(configs: Iterable[Any]) -> set[str]:
    """The names of the fields in which the configs differ."""
    first, *others = map(vars, configs)
    return {name for name in first if any(other[name] != first[name] for other in others)}


def _kind(field: dataclasses.Field[Any], hint: Any) -> tuple[Callable[[str], Any], tuple[str, ...] | None]:
    """The reader of a field's values and its choices, if it has any: `str | None` reads as `str`."""
    if field.metadata.get("parse"):  # the dataclass itself parses the text
        return str, None
    if typing.get_origin(hint) is typing.Literal:
        return str, typing.get_args(hint)
    return next((option for option in typing.get_args(hint) if option not in (types.NoneType, ...)), hint), None


def _one_line_per_flag(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=46, width=140)
