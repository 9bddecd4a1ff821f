"""Runs that are killed or asked to end at random moments, and continued until they are done."""

import random
import signal
import subprocess
import time

from ae_jax.runs.run_dir import holds_run
from faults.workplace import ARCHS, Trial, Workplace

_PATIENCE_SECONDS = 2.0  # for a run that is asked to end
_HANDLERS_SECONDS = 0.5  # until a process has installed its signal handlers; before, Python dies of any signal


def stop(workplace: Workplace, seed: int, signums: tuple[signal.Signals, ...]) -> Trial:
    """Start a run, stop it at a random moment, continue it, stop it at another, and let it end.

    What is to end of itself has to compile first: it must be heard then, too.
    """
    rng = random.Random(seed)
    arch, run_dir = ARCHS[seed % 2], f"stopped-{'-'.join(signum.name for signum in signums)}-{seed}"
    arguments, reference, told = workplace.arguments(arch, run_dir), workplace.reference(arch), []
    for signum in (*signums, None):
        resume = ("--resume",) if holds_run(workplace.folder / run_dir) else ()
        compiled = signum in (None, signal.SIGKILL)
        process = workplace.start(*arguments, *resume, compiled=compiled)
        first, last = (0.0, reference.seconds) if compiled else (_HANDLERS_SECONDS, reference.compiling_seconds)
        moment = rng.uniform(first, last) if signum else None
        problem, output = _let_run(process, moment, signum)
        told.append("end" if moment is None else f"{signum.name if signum else ''} at {moment:.2f} s")
        if problem:
            return Trial(f"{arch}: {', '.join(told)}", f"{problem}: {output}")
    return Trial(f"{arch}: {', '.join(told)}", workplace.difference(run_dir, arch))


def _let_run(
    process: subprocess.Popen[str], moment: float | None, signum: signal.Signals | None
) -> tuple[str | None, str]:
    """Wait, stop it where it still runs; what is wrong with its end, and what it said."""
    try:
        output, _ = process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        assert signum
        process.send_signal(signum)
        start = time.perf_counter()
        output, _ = process.communicate()
        seconds = time.perf_counter() - start
        code = process.returncode
        if signum == signal.SIGKILL:
            return None, output
        if code == 0 and "Everything is in" in output:  # it was done just then
            return None, output
        if code != 128 + signum:
            return f"exit {code} after {signum.name}", output
        return (f"{seconds:.1f} s until it ended" if seconds > _PATIENCE_SECONDS else None), output
    return (f"exit {process.returncode}" if process.returncode else None), output
