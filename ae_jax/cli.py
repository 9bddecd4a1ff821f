"""From a command line to a call: arguments, one-line errors, `--help`. It imports no JAX."""

import argparse
import difflib
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, Literal, NamedTuple, NoReturn, get_args, get_origin

from ae_jax import __version__
from ae_jax.config import GROUPS, read_setting
from ae_jax.errors import InputError


class Argument(NamedTuple):
    """An argument of a command: a flag, or positional if `default` is `dataclasses.MISSING`."""

    help: str  # the default is appended unless the text has "(default: …)"
    default: Any = None
    hint: Any = str | None  # the type of its value; bool: a flag without value
    group: str | None = None  # of `--help`


class Command(NamedTuple):
    """A command: its help, its arguments, and the function that they are passed to, as "module:function"."""

    summary: str
    target: str
    doing: str  # what a terminal shows while JAX starts, with arguments in braces
    arguments: Mapping[str, Argument]
    examples: Sequence[str]
    recipes: Mapping[str, Callable[..., Any]] = {}  # name -> settings, as the only argument `config`; first the default
    resume_target: str = ""  # called with --resume, and with the settings that the command line names

    @property
    def positionals(self) -> list[str]:
        """The names of the arguments that are no flags."""
        return [name for name, argument in self.arguments.items() if argument.default is MISSING]


class Call(NamedTuple):
    """The function to call for a command line, and its arguments."""

    target: str
    arguments: dict[str, Any]
    compilation_cache: bool


_CACHE = {"no_compilation_cache": Argument("compile anew (default: cache programs in ~/.cache/ae_jax)", False, bool)}


def arguments_of(config: Any) -> dict[str, Argument]:
    """The arguments that set the fields of a dataclass, declared with `ae_jax.config.setting`."""
    return {
        each.name: Argument(each.metadata["help"], each.default, each.type, each.metadata["group"])
        for each in fields(config)
    }


def parse(args: Sequence[str], commands: Mapping[str, Command], prog: str = "ae-jax") -> Call:
    """Read a command line: the name of one of `commands` and its arguments.

    Raises:
      InputError: the command line cannot be read, or a setting is invalid.
      SystemExit: after `--help`, which also no arguments ask for, and `--version`.
    """
    if args and not args[0].startswith("-") and args[0] not in commands:
        raise InputError(f"there is no command {args[0]}{_nearest(args[0], commands)} Try --help.")
    namespace, unknown = _make_parser(commands, prog).parse_known_args(args or ["--help"])
    words = vars(namespace)
    command = commands[words.pop("command")]
    if unknown:
        flags = (f"--{name.replace('_', '-')}" for name in {**command.arguments, **_CACHE})
        raise InputError(f"unrecognized argument {unknown[0]}{_nearest(unknown[0], flags)} Try --help.")
    compilation_cache = not words.pop("no_compilation_cache", False)
    given = {name: _read(name, word, command.arguments[name].hint) for name, word in words.items()}
    return Call(*_resolve(command, given), compilation_cache)


def with_flags(message: str, command: Command | None) -> str:
    """Spell the arguments that a message names in backticks as on the command line: `data_dir` becomes --data-dir."""

    def spell(match: re.Match[str]) -> str:
        name = match[1]
        return name.upper() if command and name in command.positionals else f"--{name.replace('_', '-')}"

    return re.sub("`([a-z][a-z0-9_]*)`", spell, message)


def _nearest(word: str, names: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(word, names, 1)
    return f"; did you mean {nearest[0]}?" if nearest else "."


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help formatter for the width of the terminal, which breaks no hyphenated word."""

    def __init__(self, prog: str) -> None:
        width = shutil.get_terminal_size().columns
        super().__init__(prog, max_help_position=39 if width >= 100 else 24, width=width)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are exceptions."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}. Try --help.")


def _make_parser(commands: Mapping[str, Command], prog: str) -> _Parser:
    """A parser that gives no value to what a command line leaves out: a recipe must know it."""
    parser = _Parser(
        prog=prog,
        description="MNIST autoencoders in JAX.",
        usage=f"{prog} COMMAND [OPTIONS]",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ae_jax {__version__}")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, command in commands.items():
        examples = (f"{prog} {each}" for each in command.examples)
        summary = textwrap.fill(command.summary, shutil.get_terminal_size().columns, break_on_hyphens=False)
        subparser = parsers.add_parser(
            name,
            usage=" ".join((prog, name, *map(str.upper, command.positionals), "[OPTIONS]")),
            description="\n  ".join((f"{summary}\n\nexamples:", *examples)),
            help=command.summary,
            formatter_class=_Formatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        _add_arguments(subparser, {**command.arguments, **_CACHE})
    return parser


def _add_arguments(parser: _Parser, arguments: Mapping[str, Argument]) -> None:
    used = {each.group for each in arguments.values()}
    groups = {group: parser.add_argument_group(group) for group in GROUPS if group in used}
    for name, argument in arguments.items():
        options: dict[str, Any] = {"help": _help(argument)}
        if argument.hint is bool:
            options |= {"action": "store_const", "const": True}
        else:
            nargs = "+" if _item(argument.hint) else None
            options |= {"metavar": _metavar(name, argument.hint), "nargs": nargs}
        word = name if argument.default is MISSING else f"--{name.replace('_', '-')}"
        groups.get(argument.group or "", parser).add_argument(word, **options)


def _help(argument: Argument) -> str:
    if "(default: " in argument.help or argument.default is MISSING:
        return argument.help
    values = argument.default if isinstance(argument.default, tuple) else (argument.default,)
    return f"{argument.help} (default: {'off' if argument.hint is bool else ' '.join(map(str, values))})"


def _metavar(name: str, hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"{{{','.join(get_args(hint))}}}"
    kinds = (hint, *get_args(hint), _item(hint))
    return "N" if int in kinds else "X" if float in kinds else name.split("_")[-1].upper()


def _read(name: str, words: str | list[str] | bool, hint: Any) -> Any:
    if words == "":
        raise InputError(f"`{name}` is empty; give a value.")
    if isinstance(words, list):
        return tuple(read_setting(name, word, _item(hint)) for word in words)
    return read_setting(name, words, hint) if isinstance(words, str) else words


def _item(hint: Any) -> Any:
    """The type of the items of a list of values, or None if `hint` is no list."""
    return next((get_args(each)[0] for each in (hint, *get_args(hint)) if get_origin(each) is tuple), None)


def _resolve(command: Command, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The function to call and its arguments, from those that the command line gives."""
    if not command.recipes:
        return command.target, {name: each.default for name, each in command.arguments.items()} | given
    resume, recipe = given.pop("resume", False), given.pop("recipe", None)
    default, *others = (make(**given) for make in command.recipes.values())
    config = command.recipes[recipe](**given) if recipe else default
    if not resume:
        return command.target, {"config": config}
    differing = {name for name in vars(default) for each in others if getattr(each, name) != getattr(default, name)}
    names = given.keys() | (differing if recipe else set())
    return command.resume_target, {name: getattr(config, name) for name in names}
