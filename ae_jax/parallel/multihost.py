"""Distributed training: several processes, on one host or more, through JAX's distributed runtime.

All processes run the same program with the same settings. Process 0 reads and writes the run's files and prints. With
a single process these functions do nothing and cost nothing.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ae_jax.errors import InputError, RunError
from ae_jax.system.signals import HANDLED_SIGNALS

_HEARTBEAT_SECONDS = 20  # a process without a heartbeat for this long counts as lost, and the others end
START_SECONDS = 120.0  # for all processes to connect


@contextlib.contextmanager
def join_processes(
    distributed: bool, coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Iterator[None]:
    """Join the distributed job for the duration of the block (no-op for one process). Call before any other use of JAX.

    Args:
      distributed: whether the job has several processes. JAX takes arguments that are None from the cluster (Slurm,
        Kubernetes, MPI, Cloud TPUs).
      coordinator: `host:port`, at which process 0 listens.
      num_processes: the number of processes in the job.
      process_id: the index of this process, from 0.

    Raises:
      InputError: the processes cannot find each other. If some do not connect in time, this process exits with code 2
        and a one-line error.
      RunError: within the block, when another process was lost.
    """
    if not distributed:
        yield
        return
    timeout = threading.Timer(START_SECONDS, _exit_after_timeout)
    timeout.daemon = True
    timeout.start()
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=round(START_SECONDS) + 60,  # after this, JAX would abort the process
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the processes of the run did not find each other ({str(error).splitlines()[0]}); outside a cluster that "
            "JAX detects, give every process --coordinator HOST:PORT, --num-processes and --process-id."
        ) from error
    finally:
        timeout.cancel()
    for signum in HANDLED_SIGNALS:  # JAX has installed a SIGTERM handler of its own
        signal.signal(signum, signal.getsignal(signum))
    try:
        yield
        jax.distributed.shutdown()  # waits for the others
    except jax.errors.JaxRuntimeError as error:
        problem = str(error).splitlines()[0][:200]
        raise RunError(
            "another process of this run was lost or has ended, see its messages; restart all processes, with "
            f"--resume if the run had started ({problem})"
        ) from error


def is_process_0() -> bool:
    """Whether this is process 0, which writes files and prints."""
    return not _is_distributed() or jax.process_index() == 0


def max_over_processes(value: int) -> int:
    """The maximum of `value` over all processes; also a barrier."""
    return int(np.max(multihost_utils.process_allgather(np.int64(value)))) if _is_distributed() else value


def broadcast_arrays(tree: Any) -> Any:
    """Process 0's arrays on every process; all must pass the same shapes and dtypes."""
    return multihost_utils.broadcast_one_to_all(tree) if _is_distributed() else tree


def broadcast_json(value: Any) -> Any:
    """Process 0's `value`, of JSON types, on every process."""
    if not _is_distributed():
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = max_over_processes(len(text) if is_process_0() else 0)
    shared = broadcast_arrays(np.resize(text, size) if is_process_0() else np.zeros(size, np.uint8))
    return json.loads(np.asarray(shared).tobytes())


def _exit_after_timeout() -> None:
    """Exit from a timer thread: the main thread is blocked in JAX's runtime."""
    print(
        f"error: the other processes of the run did not connect within {START_SECONDS:.0f} seconds; give every process "
        "the same --coordinator and --num-processes, and a --process-id of its own.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)


def _is_distributed() -> bool:
    """Whether the job is distributed; `jax.process_count()` would initialise the devices too early."""
    return jax.distributed.is_initialized()
