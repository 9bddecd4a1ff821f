"""Several processes, on one host or more, that train one model together through JAX's distributed runtime.

All of them run the same program on the same settings. The first reads and writes the run's files and speaks; what they
have to agree about, they ask here. Where there is only one process, all of this costs nothing.
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
from ae_jax.system.signals import HEARD

_HEARTBEAT_SECONDS = 20  # a process that has not been heard of for so long is lost, and the others end
START_SECONDS = 120.0  # for all of them to be there


@contextlib.contextmanager
def together(
    distributed: bool, coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Iterator[None]:
    """Meet the run's other processes, if it has any, for this block. JAX must not have been used.

    Args:
      distributed: there are others. What is not said of them, JAX finds out from the cluster (Slurm, Kubernetes, MPI,
        Cloud TPUs).
      coordinator: `host:port`, at which the first process listens.
      num_processes: how many there are.
      process_id: which this is, from 0.

    Raises:
      InputError: they cannot be found. Where they do not come, the process ends, with exit code 2 and a sentence.
      RunError: within the block: one was lost.
    """
    if not distributed:
        yield
        return
    patience = threading.Timer(START_SECONDS, _give_up)
    patience.daemon = True
    patience.start()
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=round(START_SECONDS) + 60,  # after which JAX would abort the process
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the run's processes did not find each other ({str(error).splitlines()[0]}); outside of a cluster that "
            "JAX knows, give each --coordinator HOST:PORT, --num-processes and --process-id."
        ) from error
    finally:
        patience.cancel()
    for signum in HEARD:  # JAX has taken SIGTERM for itself
        signal.signal(signum, signal.getsignal(signum))
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        problem = str(error).splitlines()[0][:200]
        raise RunError(
            "another process of this run was lost or has ended, see its messages; start all of them again, with "
            f"--resume where the run had begun ({problem})"
        ) from error


def is_first() -> bool:
    """Whether this process writes and speaks for all."""
    return not _is_met() or jax.process_index() == 0


def largest(value: int) -> int:
    """The largest of the numbers that the processes have; each waits for all."""
    return int(np.max(multihost_utils.process_allgather(np.int64(value)))) if _is_met() else value


def arrays_from_first(tree: Any) -> Any:
    """The first process's arrays, for all; the others' must be of the same shapes and types."""
    return multihost_utils.broadcast_one_to_all(tree) if _is_met() else tree


def facts_from_first(facts: Any) -> Any:
    """The first process's facts, of JSON's types, for all."""
    if not _is_met():
        return facts
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    size = largest(len(text) if is_first() else 0)
    shared = arrays_from_first(np.resize(text, size) if is_first() else np.zeros(size, np.uint8))
    return json.loads(np.asarray(shared).tobytes())


def _give_up() -> None:
    """End the process, whose main thread waits in JAX's runtime."""
    print(
        f"error: the run's other processes did not come within {START_SECONDS:.0f} seconds; give all the same "
        "--coordinator and --num-processes, and each a --process-id of its own.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)


def _is_met() -> bool:
    """Whether there are other processes; to ask JAX how many would have it settle for the devices that it finds."""
    return jax.distributed.is_initialized()
