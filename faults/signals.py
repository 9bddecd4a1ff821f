"""Signal trials: runs killed or interrupted at random times and resumed to the end."""

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from ae_jax.runs.run_dir import holds_run
from ae_jax.system.signals import HANDLED_SIGNALS
from faults.workspace import ARCHS, Trial, Workspace

EXIT_SECONDS = 2.0  # allowed between SIGTERM or SIGINT and the exit
_HANDLERS_SECONDS = 0.5  # more than a process needs to install its signal handlers


class Exit(NamedTuple):
    """The end of a process."""

    code: int
    output: str
    seconds: float | None  # since the signal; None: it ended before


def interrupt_and_resume(workspace: Workspace, seed: int, signums: tuple[signal.Signals, ...]) -> Trial:
    """Start a run, send each of the signals at a random time, resume after each, and let the run end.

    SIGTERM and SIGINT are sent while the run compiles, because it must react then, too.
    """
    rng = random.Random(seed)
    arch, run_dir = ARCHS[seed % 2], f"signals-{'-'.join(signum.name for signum in signums)}-{seed}"
    arguments, reference, events = workspace.arguments(arch, run_dir), workspace.reference(arch), []
    for signum in (*signums, None):
        resume = ("--resume",) if holds_run(workspace.folder / run_dir) else ()
        cached = signum in (None, signal.SIGKILL)
        process = workspace.start(*arguments, *resume, cached=cached)
        delay = rng.uniform(0.0, reference.warm_seconds if cached else reference.cold_seconds) if signum else None
        end = send_signal(process, delay, signum)
        events.append(f"{signum.name} at {delay:.2f} s" if signum else "end")
        if problem := _problem(end, signum):
            return Trial(f"{arch}: {', '.join(events)}", f"{problem}: {end.output}")
    return Trial(f"{arch}: {', '.join(events)}", workspace.difference(run_dir, arch))


def send_signal(process: subprocess.Popen[str], delay: float | None, signum: signal.Signals | None) -> Exit:
    """Send a signal to a script after a delay, if it still runs, and wait for its end; None: no signal.

    SIGTERM and SIGINT are delayed from when the script has installed its handlers.
    """
    if signum in HANDLED_SIGNALS:
        _wait_for_handlers(process)
    try:
        output, _ = process.communicate(timeout=delay)
        return Exit(process.returncode, output, None)
    except subprocess.TimeoutExpired:
        assert signum
        process.send_signal(signum)
    start = time.perf_counter()
    output, _ = process.communicate()
    return Exit(process.returncode, output, time.perf_counter() - start)


def _wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Wait until the process handles SIGTERM, the second of its handlers; without Linux's /proc, half a second.

    Of earlier signals it dies as any Python program does, of SIGINT with a traceback: Python needs 13 ms to the first
    line of a script, and the script 14 ms from there to its handlers (medians).
    """
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        time.sleep(_HANDLERS_SECONDS)
        return
    while process.poll() is None and not _handles(status, signal.SIGTERM):
        time.sleep(0.001)


def _handles(status: Path, signum: signal.Signals) -> bool:
    (mask,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> signum - 1 & 1)


def _problem(end: Exit, signum: signal.Signals | None) -> str | None:
    if end.seconds is None or signum is None:
        return f"exit {end.code}" if end.code else None
    if signum == signal.SIGKILL or (end.code == 0 and "Everything is in" in end.output):  # the signal came too late
        return None
    if end.code != 128 + signum:
        return f"exit {end.code} after {signum.name}"
    return f"exit after {end.seconds:.1f} s" if end.seconds > EXIT_SECONDS else None
