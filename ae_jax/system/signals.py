"""Graceful handling of SIGINT and SIGTERM: immediate exit, or deferred to the next segment boundary."""

import contextlib
import os
import signal
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from ae_jax.system.terminal import write_error_line

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HANDLER_TIMEOUT_SECONDS = 0.5  # Python runs its handlers only after a call into compiled code returns


class Interrupted(KeyboardInterrupt):
    """The process was interrupted by a signal; the message may say how to resume. Scripts exit with 128 + `signum`."""

    def __init__(self, signum: int, hint: str = "") -> None:
        super().__init__({signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}[signal.Signals(signum)] + hint)
        self.signum = signum


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Defer the first signal in this block.

    A second one raises `Interrupted`. In scripts it ends the process, as does a first one that the block did not obey
    by an exception, at its end.

    Yields:
      A function that returns the pending signal or None; outside the main thread, which alone receives signals, None.
    """
    pending: list[int] = []

    def defer(signum: int, frame: types.FrameType | None) -> None:
        _handler_ran.set()
        if pending and previous[signum] is _exit:
            _exit_now(signum)
        if pending:
            raise Interrupted(signum)
        pending.append(signum)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    previous: dict[int, Any] = {signum: signal.signal(signum, defer) for signum in HANDLED_SIGNALS}
    _is_deferring.set()
    try:
        yield lambda: pending[0] if pending else None
    finally:
        _is_deferring.clear()
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    if pending and previous[pending[0]] is _exit:
        _exit_now(pending[0])


def exit_on_signals() -> None:
    """Make signals end the process, except within `deferred`; within `uninterrupted`, at its end.

    For scripts only: this installs process-wide signal handlers and starts a watchdog thread. Handlers that raise are
    not enough: Python ignores exceptions in callbacks, such as JAX's in garbage collections, and the signal is lost.
    """
    if signal.getsignal(signal.SIGTERM) is _exit:
        return
    for signum in HANDLED_SIGNALS:  # SIGINT too: background jobs of a shell inherit that it is ignored
        signal.signal(signum, _exit)
    if os.name == "nt":  # Windows needs a socket as wakeup descriptor
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_exit_if_not_handled, args=(read,), daemon=True).start()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay the exit on a first signal to the end of this short block, such as the writing of a file."""
    _blocks.append(None)
    try:
        yield
    finally:
        _blocks.pop()
        if _delayed and not _blocks:
            _exit_now(_delayed[0])


@contextlib.contextmanager
def before_exit(action: Callable[[], str | None]) -> Iterator[None]:
    """Call `action` before a signal ends a script in this block, and append the text it returns to the printed line."""
    _actions.append(action)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the watchdog is calling it
            _actions.remove(action)


def ignore_signals() -> None:
    """Ignore signals while Python shuts down, so that they do not change the exit code."""
    for signum in HANDLED_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


_handler_ran = threading.Event()
_is_deferring = threading.Event()  # within `deferred`
_blocks: list[None] = []  # one entry for each `uninterrupted` block that the process is in
_delayed: list[int] = []  # the signal that came within them
_actions: list[Callable[[], str | None]] = []  # of `before_exit`
_exiting = threading.RLock()  # held to the end by the main thread or the watchdog


def _exit(signum: int, frame: types.FrameType | None) -> None:
    _handler_ran.set()
    if not _blocks or _delayed:
        _exit_now(signum)
    _delayed.append(signum)


def _exit_if_not_handled(descriptor: int) -> None:
    """Exit if a signal's handler does not run in time: XLA is compiling, and there is nothing to save."""
    while True:
        signum = os.read(descriptor, 1)[0]
        if (
            signum in HANDLED_SIGNALS
            and not _handler_ran.wait(_HANDLER_TIMEOUT_SECONDS)
            and not (_is_deferring.is_set() or _blocks)
        ):
            _exit_now(signum)


def _exit_now(signum: int) -> NoReturn:
    """Call the actions of `before_exit` and exit; a signal during an action exits without waiting for it."""
    try:
        with _exiting:
            texts = [f" {text}" for action in _pop_actions() if (text := action())]
            write_error_line(f"{Interrupted(signum, ''.join(texts))}")
    finally:
        os._exit(128 + signum)


def _pop_actions() -> Iterator[Callable[[], str | None]]:
    while _actions:
        yield _actions.pop()
