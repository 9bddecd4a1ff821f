"""How much memory there is: for deciding whether images fit a device."""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import jax
import psutil

_M_MMAP_THRESHOLD = -3  # in glibc's malloc.h
_CGROUPS = Path("/sys/fs/cgroup")  # by which containers and clusters limit memory: (version 2, version 1)
_LIMITS = (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))


def fits(nbytes: int, devices: list[jax.Device]) -> bool:
    """Whether each of this process's `devices` can hold `nbytes` and leave as much again for the work."""
    shared_by = len(devices) if devices[0].platform == "cpu" else 1  # its devices share its memory
    return 2 * nbytes * shared_by <= free_bytes(devices[0])


def free_bytes(device: jax.Device) -> int:
    """What this process can still have on `device`; on a CPU, without anything being swapped out or killed."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return min(psutil.virtual_memory().available, *_left_in_cgroups())


def economise() -> None:
    """Return to the system what has been freed, and from now on what will be, where glibc would keep it.

    XLA's compiler leaves about 100 MB behind, and blocks of some 10 MB that come and go would add up.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 2**24)  # a larger block is a mapping of its own
        libc.malloc_trim(0)


def _left_in_cgroups() -> Iterator[int]:
    """What the limits on this process leave, of all groups that it is in."""
    yield 2**63
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            mount, limit, usage = _LIMITS[1 if controllers else 0]
            if controllers in ("", "memory"):
                group = _CGROUPS / mount / path.lstrip("/")
                for folder in (group, *group.parents):
                    with contextlib.suppress(OSError, ValueError):  # "max": no limit
                        yield int((folder / limit).read_text()) - int((folder / usage).read_text())
                    if folder == _CGROUPS / mount:
                        break
