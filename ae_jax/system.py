"""The operating system: atomic file writes, exit on signals, JAX's compilation cache. It imports no JAX."""

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import signal
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from ae_jax.errors import InputError, RunError, reason

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
_MAX_CACHE_BYTES = 256 * 2**20  # of all compiled programs together; the least recently used ones are removed
_LOCK_SECONDS = 2  # JAX holds the lock of its cache while it reads or writes one program
_SIGNALS = {signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}
_hints: list[Callable[[], str]] = []  # make what a signal prints after its own name, in blocks of `hint_on_exit`


def num_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_atomic(path: Path, content: bytes) -> None:
    """Write a temporary file, fsync it and rename it to `path`: readers see either the old file or the new one.

    An `OSError` names `path`, which it leaves unchanged.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, reason(error), str(path)) from error


def remove_temporaries(folder: Path) -> None:
    """Delete what a killed `write_atomic` or `write_folder` left in `folder` and below; none may be writing there."""
    for path in list(folder.rglob(".*.tmp")):
        if re.fullmatch(r"\..+\.[0-9a-f]{16}\.tmp", path.name):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def check_output(path: str | Path | None, argument: str, suffixes: Sequence[str] = ()) -> None:
    """Raise `InputError` if the output file that `argument` names, if any, exists or ends in none of `suffixes`."""
    if path is None:
        return
    if suffixes and Path(path).suffix not in suffixes:
        raise InputError(f"`{argument}` must end in {', '.join(suffixes)}, not {path}.")
    if os.path.lexists(Path(path)):
        raise InputError(f"{path} already exists, and nothing is overwritten; choose another `{argument}`.")
    folder = Path(path).absolute().parent
    existing = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        raise InputError(f"{folder} is not a writable directory; choose another.")


def write_output(path: str | Path, content: bytes, *, replace: bool = False) -> None:
    """Write a result atomically, and make its folder, or raise `RunError`, `InputError`; `replace`: it may exist."""
    try:
        if not replace and os.path.lexists(path):
            raise FileExistsError("it has come into existence meanwhile")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(Path(path), content)
    except OSError as error:
        raise _write_error(path, error) from error


def write_folder(folder: str | Path, files: Mapping[str, bytes]) -> None:
    """Write files, by their paths in it, into a new folder: all of them or none; errors as for `write_output`."""
    temporary = Path(folder).with_name(f".{Path(folder).name}.{secrets.token_hex(8)}.tmp")
    try:
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(temporary / name, content)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _write_error(folder, error) from error


def _write_error(path: str | Path, error: OSError) -> InputError | RunError:
    of_path = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)
    return (InputError if of_path else RunError)(f"{path} cannot be written: {reason(error)}; choose another path.")


def prepare_process() -> None:
    """Prepare a process for a command: streams that print any text, line by line, and exit on signals."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed: its descriptor, the lowest free one, must not become that of a file
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115, for the whole process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # of another type in notebooks
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    for signum in _SIGNALS:  # SIGINT too: background jobs of a shell inherit that it is ignored
        signal.signal(signum, _exit)


@contextlib.contextmanager
def hint_on_exit(hint: Callable[[], str]) -> Iterator[None]:
    """A signal that ends a command in this block prints the result of `hint` in its line."""
    _hints.append(hint)
    try:
        yield
    finally:
        _hints.pop()


def exit_now(code: int, message: str = "") -> None:
    """Exit without Python's shutdown, which takes 0.4 s: XLA's threads may be busy, and other processes may wait."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads the stream, its disk is full, or it is closed
        sys.stdout.flush()
    if message:
        with contextlib.suppress(OSError):
            os.write(2, f"{' '.join(message.split())}\n".encode(errors="backslashreplace"))
    os._exit(code)


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs for the next process; to be called before JAX is imported.

    The folder is for this type of CPU, number of XLA's threads and version of JAX: a program is for these alone. A
    `JAX_COMPILATION_CACHE_DIR` of the user's is left as it is.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    threads = os.environ.get("PJRT_NPROC") or os.environ.get("NPROC") or num_cores()
    digest = hashlib.sha256(f"{_cpu_features()} {threads}".encode()).hexdigest()[:16]
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "ae_jax" / f"jax-{version('jax')}-jaxlib-{version('jaxlib')}-{digest}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(folder / ".lockfile", timeout=_LOCK_SECONDS):  # JAX's, for which it would wait again and again
            pass
    except Timeout:
        print(f"{folder} is locked by another process: programs are compiled anew.", file=sys.stderr)
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
        return
    except (OSError, RuntimeError):  # it cannot be written, or there is no home directory
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_MAX_CACHE_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def _exit(signum: int, frame: types.FrameType | None) -> None:
    """Exit at once: every file is complete at every moment. An exception would be lost in a callback of JAX's."""
    exit_now(128 + signum, " ".join((_SIGNALS[signal.Signals(signum)], *(hint() for hint in _hints))))


def _sync_directory(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open directories
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cpu_features() -> str:
    """The instruction sets of the CPU; where the system does not list them, the name of this machine."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):  # x86, ARM
                return f"{platform.machine()} {line}"
    return f"{platform.machine()} {platform.node()}"
