"""Concurrency trials: two runs in one directory, and several processes that prepare one dataset."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from faults.workspace import ARCHS, Trial, Workspace


def contend_for_run_dir(workspace: Workspace, seed: int) -> Trial:
    """Suspend a run, start and resume others in its directory; both must be refused and leave it undisturbed."""
    arch, run_dir = ARCHS[seed % 2], f"shared-{seed}"
    arguments = workspace.arguments(arch, run_dir)
    first, problem = workspace.start(*arguments), None
    while not (workspace.folder / run_dir / "config.json").exists() and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    for extra in ((), ("--resume",)):
        second = workspace.run(*arguments, *extra)
        if second.returncode != 2 or f"is in use by process {first.pid} " not in second.stdout:
            problem = f"the second run exited with {second.returncode}: {second.stdout}"
    first.send_signal(signal.SIGCONT)
    output, _ = first.communicate()
    if first.returncode:
        problem = f"the first run exited with {first.returncode}: {output}"
    return Trial(f"{arch}: two runs in one directory", problem or workspace.difference(run_dir, arch))


def prepare_concurrently(workspace: Workspace, manual_dir: Path) -> Trial:
    """Load a missing dataset in three processes; one must prepare it, and all must load all of it."""
    code = "import ae_jax, sys; print(ae_jax.load_dataset('mnist', manual_dir=sys.argv[1]).images.sum())"
    command = [sys.executable, "-c", code, str(manual_dir.absolute())]
    environment = {**workspace.environment, "TFDS_DATA_DIR": str(workspace.folder / "concurrent")}
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) for _ in range(3)]
    outputs = [process.communicate() for process in processes]
    errors = [error for process, (_, error) in zip(processes, outputs, strict=True) if process.returncode]
    differ = len({output for output, _ in outputs}) > 1
    return Trial("a dataset prepared concurrently", "\n".join(errors) or ("the images differ" if differ else None))
