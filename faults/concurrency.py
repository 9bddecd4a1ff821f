"""Concurrent processes: two runs in one directory, and three that prepare one dataset."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from faults.workspace import COMMANDS, Trial, Workspace, difference

_LOAD = "import ae_jax, sys; print(ae_jax.load_dataset(*sys.argv[1:]).images.sum())"
_MOMENTS = (".lock", "config.json", "metrics.jsonl", "figures/reconstructions_epoch_0005.png")
_REFUSALS = ("is in use by another process", "already holds a run", "holds no run to resume")


def run_concurrently(workspace: Workspace, seeds: range) -> Iterator[Trial]:
    """Start two runs in one directory; in every fifth trial, three processes that prepare one dataset."""
    workspace.run_undisturbed(("train", "train conv"))

    def trial(seed: int) -> Trial:
        return _contend(workspace, seed) if seed % 5 < 4 else _prepare(workspace, seed)

    return workspace.in_parallel(trial, seeds)


def _contend(workspace: Workspace, seed: int) -> Trial:
    """Suspend a run at some moment, start and resume others in its directory: they must be refused."""
    command, moment = ("train", "train conv")[seed % 2], random.Random(seed).choice(_MOMENTS)
    arguments, problem = COMMANDS[command].split(), None
    folder = workspace.make_folder(command, f"shared-{seed}")
    first = workspace.start(*arguments, folder=folder.name)
    while not (folder / "out" / moment).exists() and first.poll() is None:
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    for extra in ((), ("--resume",)):
        second = workspace.run(*arguments, *extra, folder=folder.name)
        if second.returncode != 2 or not any(text in second.stdout for text in _REFUSALS):
            problem = f"the second run exited with {second.returncode}: {second.stdout}"
    first.send_signal(signal.SIGCONT)
    output, _ = first.communicate()
    if first.returncode:
        problem = f"the first run exited with {first.returncode}: {output}"
    expected = workspace.undisturbed[command].folder / "out"
    description = f"{command}: two runs in one directory, the first suspended when it had written {moment}"
    return Trial(description, problem or difference(folder / "out", expected))


def _prepare(workspace: Workspace, seed: int) -> Trial:
    """Load a missing dataset: MNIST if its official files are at hand, else synthetic digits."""
    name = "mnist" if workspace.mnist_files else "glyphs"
    folders = {
        "TFDS_DATA_DIR": str(workspace.folder / f"concurrent-{seed}"),
        "AE_JAX_MANUAL_DIR": workspace.mnist_files,
    }
    command, environment = [sys.executable, "-c", _LOAD, name, "test"], workspace.environment | folders
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) for _ in range(3)]
    outputs = [process.communicate() for process in processes]
    errors = [error for process, (_, error) in zip(processes, outputs, strict=True) if process.returncode]
    differ = len({output for output, _ in outputs}) > 1
    problem = "\n".join(errors) or ("the images differ" if differ else None)
    return Trial(f"{name}, prepared by three processes", problem)
