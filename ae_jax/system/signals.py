"""Graceful handling of SIGINT and SIGTERM: immediate exit, or deferred to the next segment boundary."""

import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HANDLER_TIMEOUT_SECONDS = 1.0  # Python runs its handlers only after a call into compiled code returns


class Interrupted(KeyboardInterrupt):
    """The process was interrupted by a signal; the message may say how to resume. Scripts exit with 128 + `signum`."""

    def __init__(self, signum: int, hint: str = "") -> None:
        super().__init__({signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}[signal.Signals(signum)] + hint)
        self.signum = signum


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Defer the first signal in this block; a second one raises `Interrupted` immediately.

    Yields:
      A function that returns the pending signal or None; outside the main thread, which alone receives signals, None.
    """
    pending: list[int] = []

    def defer(signum: int, frame: types.FrameType | None) -> None:
        _handler_ran.set()
        if pending:
            raise Interrupted(signum)
        pending.append(signum)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    previous = {signum: signal.signal(signum, defer) for signum in HANDLED_SIGNALS}
    _is_deferring.set()
    try:
        yield lambda: pending[0] if pending else None
    finally:
        _is_deferring.clear()
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def raise_on_signals() -> None:
    """Make signals raise `Interrupted` outside `deferred`; during a long compilation they end the process.

    For scripts only: this installs process-wide signal handlers and starts a watchdog thread.
    """
    for signum in HANDLED_SIGNALS:  # SIGINT too: background jobs of a shell inherit that it is ignored
        signal.signal(signum, _raise)
    if os.name == "nt":  # Windows needs a socket as wakeup descriptor
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_exit_if_not_handled, args=(read,), daemon=True).start()


def ignore_signals() -> None:
    """Ignore signals while Python shuts down, so that they do not change the exit code."""
    for signum in HANDLED_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


_handler_ran = threading.Event()
_is_deferring = threading.Event()  # within `deferred`


def _raise(signum: int, frame: types.FrameType | None) -> None:
    _handler_ran.set()
    raise Interrupted(signum)


def _exit_if_not_handled(descriptor: int) -> None:
    """Exit if a signal's handler does not run in time: XLA is compiling, and there is nothing to save."""
    while True:
        signum = os.read(descriptor, 1)[0]
        if signum in HANDLED_SIGNALS and not _handler_ran.wait(_HANDLER_TIMEOUT_SECONDS) and not _is_deferring.is_set():
            print(Interrupted(signum), file=sys.stderr, flush=True)
            os._exit(128 + signum)
