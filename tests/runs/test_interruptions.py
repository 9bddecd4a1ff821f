"""Runs that are interrupted, as users start them: real processes, programs with all optimizations, equal bits."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ae_jax.system import num_cores
from tests.conftest import ROOT, Script
from tests.support.devices import needs_cpu
from tests.support.outcomes import assert_same_outcome

pytestmark = [
    pytest.mark.usefixtures("environment"),
    pytest.mark.optimised,
    pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals"),
    needs_cpu,
]
EXIT_SECONDS = 2  # after a signal


@contextlib.contextmanager
def started(*command: object) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end of the block, if it has not ended."""
    with subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_epoch(run_dir: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    """Wait until `metrics.jsonl` has the line of an epoch, whose checkpoint may then be half written."""
    metrics = run_dir / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < epoch:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("arch", "epochs", "signum", "message"),
    [
        ("linear", 40, signal.SIGKILL, ""),
        ("conv", 20, signal.SIGINT, "Interrupted. Resume with: "),
        ("conv-pool", 8, signal.SIGTERM, "Terminated. Resume with: "),
    ],
)
def test_an_interrupted_run_resumes_to_the_bits_of_an_uninterrupted_one(
    arch: str, epochs: int, signum: signal.Signals, message: str, own_images: Path, run_script: Script
) -> None:
    """So a repeated run has equal bits, too: of conv, in a process that compiles anew."""
    settings = ("--arch", arch, "--dataset", own_images, "--epochs", epochs, "--figure-every", 0)
    whole = [sys.executable, ROOT / "scripts" / "train.py", *map(str, settings), "--run-dir", "whole"]
    subprocess.run(whole, check=True)
    run, cache = Path("run"), ("--no-compilation-cache",) if arch == "conv" else ()
    with started("-m", "ae_jax", "train", *settings, "--run-dir", run, *cache) as process:
        wait_for_epoch(run, random.randrange(1, epochs // 2), process)
        time.sleep(random.uniform(0, 0.01))
        process.send_signal(signum)
        _, errors = process.communicate(timeout=EXIT_SECONDS)
    resume = "ae-jax train --run-dir run --resume"
    expected = (128 + signum, f"{message}{resume}\n") if message else (-signum, "")
    assert (process.returncode, errors) == expected
    result = run_script(*resume.split()[1:])
    assert result.returncode == 0, result.stderr
    assert f"Resuming {arch} on own.npy in run at epoch " in result.stdout
    assert_same_outcome("run", "whole")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or num_cores() < 2, reason="needs two cores to use only one")
def test_a_run_on_one_device_has_the_same_bits_on_any_number_of_cores(own_images: Path, train_script: Script) -> None:
    settings = ("--arch", "linear", "--dataset", own_images, "--epochs", 2, "--devices", 1)
    cores = os.sched_getaffinity(0)
    for run_dir, allowed in {"all": cores, "one": {min(cores)}}.items():
        os.sched_setaffinity(0, allowed)  # inherited by the process that is started
        try:
            result = train_script(*settings, "--run-dir", run_dir, "--no-compilation-cache")
        finally:
            os.sched_setaffinity(0, cores)
        assert (result.returncode, result.stderr) == (0, "")
    assert_same_outcome("one", "all")
