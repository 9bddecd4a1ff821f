"""The CPU of this machine."""

import os
import platform
from pathlib import Path


def num_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_features() -> str:
    """The instruction sets of the CPU; where the system does not list them, the name of this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = (line for line in lines if line.startswith(("flags", "Features")))  # x86, ARM
    return f"{platform.machine()} {next(features, platform.node())}"
