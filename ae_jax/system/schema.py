"""Checks of values from JSON against type hints: files may hold anything."""

import math
import types
import typing
from numbers import Integral, Real
from typing import Any, Literal


def conforms(value: Any, hint: Any) -> bool:
    """Whether a value is of a type such as `int`, `str | None`, `list[float]` or `dict[str, str]`.

    `int` and `float` include NumPy's, but no bool; a `float` must be within the range of a double, but may be NaN.
    Text must have no control characters, which a terminal would execute.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(conforms(value, option) for option in args)
    if origin is Literal:
        return isinstance(value, str) and value in args
    if origin is dict:
        return isinstance(value, dict) and all(conforms(k, args[0]) and conforms(v, args[1]) for k, v in value.items())
    if origin in (list, tuple):  # of any length; JSON has only lists
        return isinstance(value, list | tuple) and all(conforms(each, args[0]) for each in value)
    if hint is int:
        return not isinstance(value, bool) and isinstance(value, Integral)
    if hint is float:
        return not isinstance(value, bool) and isinstance(value, Real) and _is_double(value)
    if hint is str:
        return isinstance(value, str) and not any(map(_is_control, value))
    return hint is Any or isinstance(value, hint)


def type_name(hint: Any) -> str:
    """The name of a type in messages, such as `int | None`."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _is_double(value: Any) -> bool:
    try:
        return bool(float(value) <= math.inf) or math.isnan(value)
    except OverflowError:
        return False


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"
