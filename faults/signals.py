"""Signal trials: runs killed or interrupted at random times and resumed to the end."""

import random
import signal
import subprocess
import time

from ae_jax.runs.run_dir import holds_run
from faults.workspace import ARCHS, Trial, Workspace

_EXIT_SECONDS = 2.0  # allowed between SIGTERM or SIGINT and the exit
_HANDLERS_SECONDS = 0.5  # until a process has installed its signal handlers; Python dies of earlier signals


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
        first, last = (0.0, reference.warm_seconds) if cached else (_HANDLERS_SECONDS, reference.cold_seconds)
        delay = rng.uniform(first, last) if signum else None
        problem, output = _wait_and_signal(process, delay, signum)
        events.append(f"{signum.name} at {delay:.2f} s" if signum else "end")
        if problem:
            return Trial(f"{arch}: {', '.join(events)}", f"{problem}: {output}")
    return Trial(f"{arch}: {', '.join(events)}", workspace.difference(run_dir, arch))


def _wait_and_signal(
    process: subprocess.Popen[str], delay: float | None, signum: signal.Signals | None
) -> tuple[str | None, str]:
    """Send the signal after the delay if the process still runs; return the problem, or None, and the output."""
    try:
        output, _ = process.communicate(timeout=delay)
    except subprocess.TimeoutExpired:
        assert signum
        process.send_signal(signum)
        start = time.perf_counter()
        output, _ = process.communicate()
        seconds = time.perf_counter() - start
        code = process.returncode
        if signum == signal.SIGKILL:
            return None, output
        if code == 0 and "Everything is in" in output:  # the signal came too late
            return None, output
        if code != 128 + signum:
            return f"exit {code} after {signum.name}", output
        return (f"exit after {seconds:.1f} s" if seconds > _EXIT_SECONDS else None), output
    return (f"exit {process.returncode}" if process.returncode else None), output
