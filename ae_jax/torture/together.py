"""Two runs in one directory."""

import signal
import time

from ae_jax.torture.workplace import ARCHS, Trial, Workplace


def share(workplace: Workplace, seed: int) -> Trial:
    """Hold a run still, and meanwhile start another in its directory and try to continue it; neither may disturb it."""
    arch, run_dir = ARCHS[seed % 2], f"shared-{seed}"
    arguments = workplace.arguments(arch, run_dir)
    first, problem = workplace.start(*arguments), None
    while not (workplace.folder / run_dir / "config.json").exists() and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    for extra in ((), ("--resume",)):
        second = workplace.run(*arguments, *extra)
        if second.returncode != 2 or f"is in use by process {first.pid} " not in second.stdout:
            problem = f"the second ended with {second.returncode}: {second.stdout}"
    first.send_signal(signal.SIGCONT)
    output, _ = first.communicate()
    if first.returncode:
        problem = f"the first ended with {first.returncode}: {output}"
    return Trial(f"{arch}: two runs in one directory", problem or workplace.difference(run_dir, arch))
