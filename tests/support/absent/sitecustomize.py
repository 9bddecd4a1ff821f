"""Hide what other systems lack, for a run of the suite: PYTHONPATH=tests/support/absent python -m pytest."""

import os
import shutil
import sys

import filelock
import psutil  # noqa: F401  # it has something else in their place on other systems

shutil._use_fd_functions = False  # as where directories cannot be opened: it would ask for O_NONBLOCK
filelock.FileLock = filelock.SoftFileLock  # as where fcntl is missing; on Windows it has msvcrt
for name in ("array_record", "fcntl", "resource"):
    sys.modules[name] = None
for name in ("O_NOFOLLOW", "O_NONBLOCK", "mkfifo", "pread", "pwrite", "sched_getaffinity", "sched_setaffinity"):
    if hasattr(os, name):
        delattr(os, name)
