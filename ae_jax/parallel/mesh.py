"""Device mesh and processes of a run.

All processes run the same program with the same settings, on the same files. Process 0 prints and writes. With a single
process the functions for several do nothing and cost nothing.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh

from ae_jax.config import Devices
from ae_jax.errors import InputError, RunError, reason
from ae_jax.system import num_cores

AXIS = "devices"
_CPU_OPTIONS = {
    "xla_cpu_prefer_vector_width": 512,
    "xla_cpu_copy_insertion_use_region_analysis": True,  # otherwise each step copies parameters that it updates
}
# The batch is the minor axis, and LLVM unrolls loops over the 32 images of a device before it vectorises them: im2col
# would be scalar code. This is an option of JAX's CPU client, not of a program.
_CLIENT_OPTION = "xla_backend_extra_options"
_CLIENT_FLAG = f"--{_CLIENT_OPTION}=xla_cpu_disable_loop_unrolling"
_NUM_THREADS = 2  # on one core and on two, more are slower: XLA splits each loop and then has to join it


def make_mesh(num_devices: Devices, *, batch_size: int, images_per_core: int | None) -> Mesh:
    """Return the mesh to train on, over all hosts: GPUs or TPU cores where JAX has them, otherwise CPU cores.

    Args:
      num_devices: devices per host; auto: as many as make training fastest. With 1, if this is JAX's first use, XLA
        has the same number of threads, by which it splits sums, on every machine, so that all compute the same bits.
      batch_size: images per step; the mesh has at most as many devices.
      images_per_core: the smallest shard of a batch for which another CPU core pays off, or None for never: each core
        adds an all-reduce and an optimizer step.

    Raises:
      InputError: fewer than `num_devices` devices exist, JAX finds none, or a batch has fewer images than devices.
    """
    cores = max(1, min(num_cores(), batch_size // images_per_core)) if images_per_core else 1
    if num_devices == "auto" or num_devices <= batch_size:  # otherwise the request is refused below
        request_cpu_devices(cores if num_devices == "auto" else num_devices)
    with _environment(_client_variables(num_devices)):
        devices_per_host = find_devices()
    present, is_cpu = min(map(len, devices_per_host)), devices_per_host[0][0].platform == "cpu"
    most = cores if is_cpu else batch_size
    per_host = max(1, min(present, most // len(devices_per_host))) if num_devices == "auto" else num_devices
    if per_host * len(devices_per_host) > batch_size:
        on_hosts = f" on {len(devices_per_host)} hosts" if len(devices_per_host) > 1 else ""
        raise InputError(
            f"{per_host} devices{on_hosts} cannot share a batch of {batch_size}; make `batch_size` larger."
        )
    if per_host > present:
        kind = devices_per_host[0][0].platform.upper()
        raise InputError(f"JAX has {present} devices here ({kind}), not {per_host}; make `devices` smaller.")
    devices = [device for host in devices_per_host for device in host[:per_host]]
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def compiler_options(devices: Iterable[jax.Device]) -> dict[str, Any]:
    """The options of `jax.jit` for all programs of a run: programs that agree to the bit need the same ones."""
    return dict(_CPU_OPTIONS) if any(device.platform == "cpu" for device in devices) else {}


def request_cpu_devices(num_devices: int) -> None:
    """Configure JAX to expose the CPU as `num_devices` devices, unless the user or an earlier use has decided."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):  # JAX is initialised: the number of devices is fixed
        jax.config.update("jax_num_cpu_devices", num_devices)


def find_devices() -> list[list[jax.Device]]:
    """The devices of each host; `InputError` if there is none, as when `JAX_PLATFORMS` names one that is missing."""
    try:
        return [jax.local_devices(host) for host in range(jax.process_count())]
    except jax.errors.JaxRuntimeError:  # raised by another process
        raise
    except (RuntimeError, AssertionError) as error:  # the latter for a known platform that is not installed
        cause = f" ({reason(error)})" if str(error) else ""
        message = f"JAX finds no device{cause}; set JAX_PLATFORMS to an available platform, such as cpu."
        raise InputError(message) from error


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


def max_over_processes(value: int) -> int:
    """The maximum of `value` over all processes; also a barrier."""
    if not jax.distributed.is_initialized():  # `jax.process_count()` would initialise the devices too early
        return value
    return int(np.max(multihost_utils.process_allgather(np.int64(value))))


def _client_variables(num_devices: Devices) -> dict[str, str]:
    """The environment variables with which JAX's clients are created."""
    own = os.environ.get("XLA_FLAGS", "")
    variables = {"XLA_FLAGS": own if _CLIENT_OPTION in own else f"{own} {_CLIENT_FLAG}".strip()}
    if num_devices == 1 and not {"PJRT_NPROC", "NPROC"} & os.environ.keys():  # the user's setting wins
        variables["PJRT_NPROC"] = str(_NUM_THREADS)
        folder, name = jax.config.jax_compilation_cache_dir, f"{_NUM_THREADS}-threads"  # type: ignore[attr-defined]
        if folder and not folder.endswith(name):  # its keys do not contain the number of threads
            jax.config.update("jax_compilation_cache_dir", os.path.join(folder, name))
    return variables


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the block: XLA reads them once, and child processes decide for themselves."""
    before = {name: os.environ[name] for name in variables.keys() & os.environ.keys()}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(before)
