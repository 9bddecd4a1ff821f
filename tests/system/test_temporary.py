import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
PROGRAM = """
import contextlib, os, signal, subprocess, sys, threading, time
from ae_jax.system.signals import exit_on_signals
from ae_jax.system.temporary import temporary_dir

exit_on_signals()

def sleep(folder):
    with contextlib.suppress(OSError):
        while True:
            subprocess.run(["sleep", sys.argv[1]], cwd=folder)

with temporary_dir() as folder:
    (folder / "file").touch()
    threads = [threading.Thread(target=sleep, args=(folder,), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    time.sleep(60)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for the temporary files of processes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_removes_the_folder_and_ends_what_threads_start_in_it(name: str, code: int, temporary: Path) -> None:
    seconds = f"{60 + os.getpid() / 1e8:.8f}"  # to recognise the processes
    result = subprocess.run([sys.executable, "-c", PROGRAM, seconds, name], check=False)
    assert result.returncode == code
    left = [process for process in psutil.process_iter(["cmdline"]) if seconds in (process.info["cmdline"] or ())]
    _, alive = psutil.wait_procs(left, timeout=10)  # one that has just been forked ends by itself, without its folder
    assert not alive
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "arguments", ["faults.py --part kill", "benchmark.py --part steps --arch linear --dataset own.npy"]
)
def test_a_signal_to_a_script_that_starts_processes_ends_all_of_them(
    arguments: str, own_images: Path, temporary: Path
) -> None:
    command = [sys.executable, *f"{ROOT}/scripts/{arguments}".split()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not (children := psutil.Process(process.pid).children(recursive=True)):
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=5)
            assert not any(child.is_running() for child in children)
        finally:
            process.kill()
            for child in filter(psutil.Process.is_running, children):
                child.kill()
    assert (process.returncode, errors.splitlines()[-1]) == (143, "Terminated.")
    assert list(temporary.iterdir()) == []
