"""Resume hints: the end of each message with which a training ends early."""

import contextlib
import functools
import shlex
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ae_jax.errors import DivergedError, RunError, reason
from ae_jax.runs.checkpoint_files import list_checkpoints
from ae_jax.system.invocation import invocation
from ae_jax.system.signals import Interrupted, before_exit


def hint_before_exit(command: str, run_dir: Path, settings: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Add the hint to the line of a signal that ends a script in this block."""
    return before_exit(functools.partial(_resume_hint, command, run_dir, settings))


@contextlib.contextmanager
def add_resume_hint(command: str, run_dir: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Add the hint to an exception that ends a training in this block."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(error.signum, f" {_resume_hint(command, run_dir, settings)}") from error
    except DivergedError as error:
        last = next(reversed(list_checkpoints(run_dir)), "none")
        raise RunError(
            f"{error}; start a new run with a smaller --learning-rate. The last valid checkpoint is {last}."
        ) from error
    except OSError as error:
        if not run_dir.is_dir():
            raise RunError(
                f"{run_dir} was deleted or moved while the run trained, which ends it; move it back and resume it, or "
                "start a new run."
            ) from error
        what = error.filename or "the output"
        hint = _resume_hint(command, run_dir, settings)
        raise RunError(f"{what} cannot be written ({reason(error)}). {hint}") from error


def _resume_hint(command: str, run_dir: Path, settings: Mapping[str, Any]) -> str:
    if not list_checkpoints(run_dir):
        return "The run had not started; start it again."
    folders = {"--run-dir": run_dir, **{f"--{name}-dir": settings.get(f"{name}_dir") for name in ("data", "manual")}}
    flags = " ".join(f"{flag} {shlex.quote(str(folder))}" for flag, folder in folders.items() if folder)
    return f"Resume with: {invocation(command)} {flags} --resume"
