"""Disk errors: the k-th open, write, fsync or rename of a run fails, for every k."""

import collections
import contextlib
import dataclasses
import errno
import io
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from ae_jax.config import TrainConfig
from ae_jax.errors import InputError, RunError
from ae_jax.runs.train import resume, train
from ae_jax.training.checkpoint import latest_checkpoint, list_checkpoints
from faults.workspace import Trial, Workspace, difference

_OPERATIONS = ("open", "write", "fsync", "replace")
_ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


class _Fault(NamedTuple):
    """The `k`-th call of an operation fails."""

    operation: str
    k: int
    code: int

    @property
    def name(self) -> str:
        return f"{errno.errorcode[self.code]} at {self.operation} {self.k}"


def fail_operations(workspace: Workspace, seeds: range) -> Iterator[Trial]:
    """Run once per failing call and error, for as many of them as there are seeds, in this process.

    The run must end with a one-line error that says how to go on, and leave no temporary file and a valid newest
    checkpoint; resumed, it must equal an undisturbed run.
    """
    folder = workspace.folder / "disk"
    config = TrainConfig("linear", dataset=str(workspace.folder / "tiny.npy"), epochs=2, figure_every=1)
    undisturbed = folder / "undisturbed"
    with _failing(None) as counts:
        _run(train, dataclasses.replace(config, run_dir=str(undisturbed)))
    faults = [
        _Fault(operation, k, code)
        for operation in _OPERATIONS
        for code in _ERRORS
        for k in range(1, counts[operation] + 1)
    ]
    for fault in random.Random(seeds.start).sample(faults, min(len(seeds), len(faults))):
        run_dir = folder / fault.name
        problem = _problem(dataclasses.replace(config, run_dir=str(run_dir)), run_dir, fault)
        yield Trial(fault.name, problem or difference(run_dir, undisturbed))


@contextlib.contextmanager
def _failing(fault: _Fault | None) -> Iterator[dict[str, int]]:
    """Make a call fail, a write after half of its bytes; yield the number of calls of each operation."""
    counts: dict[str, int] = collections.Counter()

    def counted(operation: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            counts[operation] += 1
            if fault is None or (operation, counts[operation]) != (fault.operation, fault.k):
                return function(*args, **options)
            if operation == "write":
                function(args[0][: len(args[0]) // 2])
            raise OSError(fault.code, os.strerror(fault.code))

        return call

    def open_counted(*args: Any) -> Any:
        file = open(*args)  # noqa: SIM115, the caller closes it
        file.write = counted("write", file.write)
        return file

    with (
        mock.patch("ae_jax.system.open", counted("open", open_counted), create=True),
        mock.patch.object(os, "open", counted("open", os.open)),  # of the lock and of folders
        mock.patch.object(os, "fsync", counted("fsync", os.fsync)),
        mock.patch.object(os, "replace", counted("replace", os.replace)),
    ):
        yield counts


def _problem(config: TrainConfig, run_dir: Path, fault: _Fault) -> str | None:
    """Train with a fault, then resume, or start again where there is nothing to resume; return what is wrong."""
    with _failing(fault):
        message = _run(train, config)
    has_checkpoint = bool(list_checkpoints(run_dir))
    if message is None:  # filelock first tries whether the folder can be locked, and goes on if that fails
        return None if fault.operation == "open" else "the run did not report the failure"
    if os.strerror(fault.code) not in message or "\n" in message:
        return f"not a one-line error: {message}"
    if has_checkpoint != ("--resume" in message):
        return f"the wrong hint for resuming: {message}"
    if left := [path.name for path in run_dir.rglob("*.tmp")]:
        return f"temporary files remain: {left}"
    if has_checkpoint and latest_checkpoint(run_dir) != list_checkpoints(run_dir)[-1]:
        return "the newest checkpoint is not valid"
    later = _run(resume, run_dir) if has_checkpoint else _run(train, config)
    return later and f"a later run ends with: {later}"


def _run(function: Callable[[Any], Path], argument: TrainConfig | Path) -> str | None:
    """Call a command's function and return its error message, if any."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            function(argument)
    except (InputError, RunError, OSError) as error:
        return str(error)
    return None
