"""Standard streams for commands: any text can be printed, control characters are escaped, streams may be closed."""

import io
import os
import sys
import threading
from typing import TextIO

from ae_jax.errors import one_line

_CONTROLS = {code: one_line(chr(code)) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


def make_streams_safe() -> None:
    """Replace `sys.stdout` and `sys.stderr` by streams that print text of any origin.

    Names in files and of files may contain escape sequences, which would control the terminal, and characters that the
    encoding of the stream lacks. What is printed to a closed stream is dropped.
    """
    os.environ["PYTHON_COLORS"] = "0"  # Python's own escape sequences, in tracebacks and help
    _open_closed_descriptors()
    sys.stdout, sys.stderr = _safe(sys.stdout), _safe(sys.stderr)


def write_error_line(text: str) -> None:
    """Write a line to standard error past `sys.stderr`, which code that a signal interrupts may be using."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    os.write(2, f"{one_line(text)}\n".encode(encoding, "backslashreplace"))


def lock_bars_by_thread() -> None:
    """Let progress bars lock out other threads only.

    By default they lock out processes, too, by a semaphore, which Python reports as leaked where a command is killed or
    exits at once: on macOS, and from Python 3.14 on everywhere.
    """
    from tqdm import tqdm  # here, as it takes longer than --help

    tqdm.set_lock(threading.RLock())


class _SafeStream(io.TextIOWrapper):
    """A text stream that escapes control characters but tabs, line breaks and the carriage return that begins a bar."""

    def write(self, text: str, /) -> int:
        start = len(text) - len(text.lstrip("\r"))
        super().write(text[:start] + text[start:].translate(_CONTROLS))
        return len(text)


def _safe(stream: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")
    if not isinstance(stream, io.TextIOWrapper):  # somebody else's, such as a notebook's
        return stream
    stream.flush()
    return _SafeStream(
        stream.buffer,
        stream.encoding,
        errors="backslashreplace",
        line_buffering=True,  # a log shows each epoch as it ends
        write_through=stream.write_through,
    )


def _open_closed_descriptors() -> None:
    """Open the null device at closed descriptors from 0 to 2, or the next file there would get XLA's messages."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
