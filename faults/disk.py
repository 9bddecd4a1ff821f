"""Disk fault trials: the k-th open, write, fsync or rename of a run fails, for every k."""

import contextlib
import dataclasses
import errno
import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from ae_jax.config import Interval, TrainConfig
from ae_jax.errors import InputError, RunError
from ae_jax.runs.checkpoint_files import latest_checkpoint
from ae_jax.runs.run_dir import holds_run
from ae_jax.runs.train import resume, train
from faults.outcomes import outcome_difference, run_outcome
from faults.workspace import Trial

_OPERATIONS = ("open", "write", "fsync", "replace")
_ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


def fail_every_operation(
    folder: Path, images: Path, *, epochs: int = 2, errors: Sequence[int] = _ERRORS, every: int = 1
) -> Iterator[Trial]:
    """Run once per failing call (one in `every`), operation and error, in this process.

    The run must end with a one-line error that says how to resume, leave no temporary file and a valid newest
    checkpoint; resumed, it must reproduce the outcome of an undisturbed run.
    """
    config = TrainConfig(
        arch="linear", dataset=str(images), epochs=epochs, checkpoint_every=Interval(10, "steps"), figure_every=1
    )
    expected = run_outcome(_quietly(train, dataclasses.replace(config, run_dir=str(folder / "undisturbed"))))
    for operation in _OPERATIONS:
        for code in errors:
            for k in itertools.count(1, every):
                run_dir = folder / f"{operation}-{errno.errorcode[code]}-{k}"
                config = dataclasses.replace(config, run_dir=str(run_dir))
                with _failing(operation, k, code) as count:
                    message = _message(config)
                if count[0] < k:
                    break
                problem = _check_and_resume(config, run_dir, code, message)
                problem = problem or outcome_difference(run_outcome(run_dir), expected)
                yield Trial(f"{errno.errorcode[code]} at {operation} {k}", problem)


@contextlib.contextmanager
def _failing(operation: str, k: int, code: int) -> Iterator[list[int]]:
    """Make the k-th call of `os.<operation>` fail, a write after half of its bytes; yield the call count."""
    real: Callable[..., Any] = getattr(os, operation)
    count = [0]

    def call(*args: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] != k:
            return real(*args, **options)
        if operation == "write":
            real(args[0], args[1][: len(args[1]) // 2])
        raise OSError(code, os.strerror(code))

    with mock.patch.object(os, operation, call):
        yield count


def _message(config: TrainConfig) -> str | None:
    try:
        _quietly(train, config)
    except (InputError, RunError) as error:
        return str(error)
    return None


def _check_and_resume(config: TrainConfig, run_dir: Path, code: int, message: str | None) -> str | None:
    if message is None:
        return "the run did not report the failure"
    if os.strerror(code) not in message or "\n" in message:
        return f"not a one-line error: {message}"
    if left := [path.name for path in run_dir.rglob("*.tmp")]:
        return f"temporary files remain: {left}"
    if holds_run(run_dir) and latest_checkpoint(run_dir) is None:
        return "no valid checkpoint"
    if holds_run(run_dir) != ("--resume" in message):
        return f"the wrong hint for resuming: {message}"
    if holds_run(run_dir):
        _quietly(resume, run_dir)
    else:
        _quietly(train, config)
    return None


def _quietly(function: Callable[[Any], Path], argument: TrainConfig | Path) -> Path:
    with contextlib.redirect_stdout(io.StringIO()):
        return function(argument)
