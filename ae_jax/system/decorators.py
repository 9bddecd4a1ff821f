"""`jax.jit` and `functools.cache` for type checkers and editors: the result keeps its function's signature."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast, runtime_checkable

import jax

Args = ParamSpec("Args")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


@runtime_checkable
class Jitted(Protocol[Args, Result_co]):
    """The result of `jax.jit`, with the signature of its function."""

    def __call__(self, *args: Args.args, **kwargs: Args.kwargs) -> Result_co: ...
    def lower(self, *args: Args.args, **kwargs: Args.kwargs) -> jax.stages.Lowered: ...
    def trace(self, *args: Args.args, **kwargs: Args.kwargs) -> jax.stages.Traced: ...


def jit(**options: Any) -> Callable[[Callable[Args, Result]], Jitted[Args, Result]]:
    """Make a decorator of `jax.jit` with these options."""

    def decorate(function: Callable[Args, Result]) -> Jitted[Args, Result]:
        return cast("Jitted[Args, Result]", jax.jit(function, **options))

    return decorate


def cache(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Make a function remember its results by its arguments, as `functools.cache` does."""
    return functools.cache(function)  # type: ignore[return-value]
