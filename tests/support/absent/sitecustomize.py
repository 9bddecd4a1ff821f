"""Hide what other systems lack, for a run of the suite: PYTHONPATH=tests/support/absent python -m pytest."""

import os
import sys

import filelock  # noqa: F401  # these two have something else in its place on other systems
import psutil  # noqa: F401

for name in ("array_record", "fcntl", "resource"):
    sys.modules[name] = None
for name in ("O_NOFOLLOW", "O_NONBLOCK", "mkfifo", "pread", "pwrite", "sched_getaffinity", "sched_setaffinity"):
    if hasattr(os, name):
        delattr(os, name)
