"""Ctrl-C and SIGTERM: at once while there is nothing to lose, at the next good moment while there is."""

import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_SECONDS = 1.0  # for a call into compiled code, which Python's handlers wait for


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end; the message says so, and how to continue. Scripts exit with 128 + `signum`."""

    def __init__(self, signum: int, hint: str = "") -> None:
        super().__init__({signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}[signal.Signals(signum)] + hint)
        self.signum = signum


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Within this block a first signal is only noted; a second raises `Interrupted` at once.

    Yields:
      What tells the signal that was noted, or None. In any but the main thread, where Python hears no signals, None.
    """
    noted: list[int] = []

    def note(signum: int, frame: types.FrameType | None) -> None:
        _heard.set()
        if noted:
            raise Interrupted(signum)
        noted.append(signum)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    previous = {signum: signal.signal(signum, note) for signum in HANDLED_SIGNALS}
    _can_wait.set()
    try:
        yield lambda: noted[0] if noted else None
    finally:
        _can_wait.clear()
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def raise_on_signals() -> None:
    """From now on, outside `deferred`, a signal raises `Interrupted`; during a long compilation it ends the process.

    For a process of its own: it changes the process's signal handlers, and starts a thread that listens.
    """
    for signum in HANDLED_SIGNALS:  # SIGINT too: a shell's background job inherits that it is ignored
        signal.signal(signum, _raise)
    if os.name == "nt":  # whose wakeup descriptors are sockets
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_end_if_unheard, args=(read,), daemon=True).start()


def ignore_signals() -> None:
    """From now on the process ends as it was about to: while Python shuts down, it would die of a signal instead."""
    for signum in HANDLED_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


_heard = threading.Event()  # a handler has run
_can_wait = threading.Event()  # `deferred` is at work


def _raise(signum: int, frame: types.FrameType | None) -> None:
    _heard.set()
    raise Interrupted(signum)


def _end_if_unheard(descriptor: int) -> None:
    """End the process where a signal is not heard in time: XLA is compiling, and there is nothing to save."""
    while True:
        signum = os.read(descriptor, 1)[0]
        if signum in HANDLED_SIGNALS and not _heard.wait(_PATIENCE_SECONDS) and not _can_wait.is_set():
            print(Interrupted(signum), file=sys.stderr, flush=True)
            os._exit(128 + signum)
