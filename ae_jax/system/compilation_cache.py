"""JAX's persistent compilation cache in the user's cache directory, for commands; imports no JAX."""

import hashlib
import os
import stat
import warnings
from importlib.metadata import version
from pathlib import Path

from ae_jax.system.cpu import cpu_features, num_cores

_MAX_BYTES = 256 * 2**20  # of all entries together; the least recently used ones are removed


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs for the next process; to be called before JAX is imported.

    A `JAX_COMPILATION_CACHE_DIR` of the user's is left as it is. A directory that cannot be written, or that others can
    write, is not used: JAX runs the code that it finds there.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = _cache_dir()
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        is_private = _is_private(folder.parent) and _is_private(folder)
    except (OSError, RuntimeError):  # the latter without a home directory
        return
    if is_private:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_MAX_BYTES))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def disable_compilation_cache() -> None:
    """Let JAX compile everything anew, whatever the environment says; to be called before JAX is imported."""
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"


def _cache_dir() -> Path:
    """The directory for this type of CPU, number of XLA's threads and version of JAX: a program is for these alone."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"
    threads = os.environ.get("PJRT_NPROC") or os.environ.get("NPROC") or num_cores()
    digest = hashlib.sha256(f"{cpu_features()} {threads}".encode()).hexdigest()[:16]
    return base / "ae_jax" / f"jax-{version('jax')}-jaxlib-{version('jaxlib')}-{digest}"


def _is_private(folder: Path) -> bool:
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    if os.name == "nt":
        return True
    status = folder.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
