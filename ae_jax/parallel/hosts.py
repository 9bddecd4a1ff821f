"""Distributed runs: several processes, on one host or more, that JAX's distributed runtime connects.

All processes run the same program with the same settings, on the same files. Process 0 prints and writes. With a single
process these functions do nothing and cost nothing.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from ae_jax.errors import InputError, RunError, reason


@contextlib.contextmanager
def join_processes(distributed: bool) -> Iterator[None]:
    """Join the job that JAX detects (Slurm, MPI, Kubernetes, TPU pods) for the block; call it before any use of JAX.

    Without a job: `InputError`; if another process is lost within the block: `RunError`.
    """
    if not distributed:
        yield
        return
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=20)  # a stopped process is lost after that time
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the processes of the run did not find each other ({reason(error)}); start them by a launcher that JAX "
            "detects, such as srun or mpirun, or leave out `distributed`."
        ) from error
    for signum, handler in handlers.items():  # JAX has replaced that of SIGTERM
        signal.signal(signum, handler)
    try:
        yield
        jax.distributed.shutdown()  # waits for the others
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if not re.match("(?!RESOURCE_EXHAUSTED)[A-Z_]+: ", str(error)):  # a status of XLA, but not out of memory
            raise
        raise RunError(
            f"another process of this run was lost or has ended, see its messages; start all again, with `resume` "
            f"if the run had begun ({reason(error)[:200]})"
        ) from error


@contextlib.contextmanager
def only_process_0_prints() -> Iterator[None]:
    """Discard what the other processes print in the block."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(sys.stdout if is_process_0() else nowhere):
        yield


def is_process_0() -> bool:
    """Whether this is process 0, which writes files; in a distributed run this initialises JAX's devices."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


@contextlib.contextmanager
def process_0_first() -> Iterator[None]:
    """Let process 0 run the block before the others do: it downloads and prepares what they read."""
    if not is_process_0():
        max_over_processes(0)  # waits
    yield
    if is_process_0():
        max_over_processes(0)


def max_over_processes(value: int) -> int:
    """The maximum of `value` over all processes; also a barrier."""
    if not jax.distributed.is_initialized():  # `jax.process_count()` would initialise the devices too early
        return value
    return int(np.max(multihost_utils.process_allgather(np.int64(value))))
