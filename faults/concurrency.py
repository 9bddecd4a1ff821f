"""Two runs in one directory; several processes that prepare one dataset."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from faults.workplace import ARCHS, Trial, Workplace


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


def prepare_at_once(workplace: Workplace, manual_dir: Path) -> Trial:
    """Three processes that all find a dataset missing: one prepares it, and all get it whole."""
    code = "import ae_jax, sys; print(ae_jax.load_dataset('mnist', manual_dir=sys.argv[1]).images.sum())"
    command = [sys.executable, "-c", code, str(manual_dir.absolute())]
    environment = {**workplace.environment, "TFDS_DATA_DIR": str(workplace.folder / "prepared-at-once")}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    outputs = [process.communicate() for process in processes]
    failed = [error for process, (_, error) in zip(processes, outputs, strict=True) if process.returncode]
    differ = len({output for output, _ in outputs}) > 1
    return Trial("a dataset prepared at once", "\n".join(failed) or ("they differ" if differ else None))
