"""Distributed training over loopback: real processes, killed and resumed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from ae_jax.config import TrainConfig
from ae_jax.runs.checkpoint_files import checkpoint_step, list_checkpoints
from ae_jax.runs.run_dir import metrics_lines
from ae_jax.runs.train import resume, train
from ae_jax.system.tensorfile import read_tensors
from faults.outcomes import run_outcome
from tests.conftest import ROOT, Script
from tests.support.outcomes import assert_same_outcome

pytestmark = pytest.mark.usefixtures("environment")
# 30 images are no multiple of four devices.
RUN = ("--arch", "linear", "--batch-size", "30", "--checkpoint-every", "7steps", "--keep", "99", "--figure-every", "0")
STEP_7 = "step_00000007.safetensors"


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start(*args: object, num_processes: int = 2) -> list[subprocess.Popen[str]]:
    """Start the processes of a distributed run."""
    command = [sys.executable, ROOT / "scripts" / "train.py", *map(str, args)]
    if num_processes > 1:
        command += ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", str(num_processes)]
    alone = {"JAX_PLATFORMS": "cpu"}  # so that processes on one machine do not share a GPU
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": os.environ | alone}
    own = [["--process-id", str(i)] if num_processes > 1 else [] for i in range(num_processes)]
    return [subprocess.Popen([*command, *flags], **pipes) for flags in own]


def end(processes: list[subprocess.Popen[str]], *expected: int) -> list[str]:
    """Wait for the processes, check their exit codes, return their outputs."""
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == list(expected), outputs
    return outputs


def newest_step(run_dir: str) -> int:
    """The step of the newest checkpoint."""
    return max((checkpoint_step(path) for path in list_checkpoints(run_dir)), default=0)


def wait_for_a_step(run_dir: str, *, after: int = 0) -> None:
    """Wait until a checkpoint of a later step exists."""
    deadline = time.monotonic() + 200
    while newest_step(run_dir) <= after:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_reproduce_one_and_resume_when_one_is_lost_or_terminated(own_images: Path) -> None:
    """They compute what one process does on as many devices; the run resumes bit for bit."""
    settings = (*RUN, "--stream", "--seed", "1", "--dataset", own_images, "--devices", "2", "--epochs", "12")
    first, second = end(start(*settings, "--run-dir", "whole"), 0, 0)
    assert "Everything is in whole" in first
    assert "epoch" not in second  # process 0 prints for both

    for victim, resume_flag in ((0, ()), (1, ("--resume",))):
        before = newest_step("killed")
        processes = start(*settings, "--run-dir", "killed", *resume_flag)
        wait_for_a_step("killed", after=before)
        processes[victim].kill()
        killed = time.monotonic()
        output, _ = processes[1 - victim].communicate(timeout=100)
        assert time.monotonic() - killed < 60
        assert processes[1 - victim].returncode > 0 or processes[1 - victim].returncode == -signal.SIGABRT
        assert "another process of this run" in output or "another task died" in output  # JAX may be faster
        processes[victim].communicate()
    before = newest_step("killed")
    processes = start(*settings, "--run-dir", "killed", "--resume")
    wait_for_a_step("killed", after=before)
    processes[1].send_signal(signal.SIGTERM)
    first, _ = end(processes, 143, 143)
    assert f"Resume with: python {ROOT}/scripts/train.py --run-dir killed --resume" in first
    assert len(metrics_lines(Path("killed"))) < 12
    end(start(*settings, "--run-dir", "killed", "--resume"), 0, 0)
    assert_same_outcome("killed", "whole")

    if len(jax.local_devices()) >= 4:  # one process reproduces two, and resumes their run
        one = {"batch_size": 30, "devices": 4, "epochs": 1, "checkpoint_every": "7steps", "keep": 99, "run_dir": "one"}
        train(TrainConfig("linear", seed=1, stream=True, dataset=str(own_images), **one))
        np.testing.assert_allclose(run_outcome("whole")[1][:1], run_outcome("one")[1], atol=1e-6)
        (arrays, _), (expected, _) = (read_tensors(Path(name, "checkpoints", STEP_7)) for name in ("whole", "one"))
        assert arrays.keys() == expected.keys()
        # The all-reduce has another order, and with other numbers of XLA threads so have the products. Where a gradient
        # nearly vanishes, Adam turns that into some 1e-6 of a parameter; a lost shard makes 1e-3.
        for name in (name for name in arrays if name.startswith("params/")):
            np.testing.assert_allclose(arrays[name], expected[name], atol=1e-5, rtol=0)
        resume("killed", epochs=13, devices=4)
        assert len(metrics_lines(Path("killed"))) == 13


def test_an_input_error_in_process_0_is_reported_and_ends_all_processes(own_images: Path) -> None:
    Path("taken").mkdir()
    (Path("taken") / "file").touch()
    processes = start(*RUN, "--dataset", own_images, "--run-dir", "taken")
    first, _ = (process.communicate(timeout=100)[0] for process in processes)
    assert processes[0].returncode == 2
    assert "taken is not empty, and nothing is overwritten" in first
    assert processes[1].returncode != 0


def test_missing_processes_time_out_with_a_one_line_error() -> None:
    def wait(process_id: int) -> subprocess.Popen[str]:
        program = (
            "from ae_jax.parallel import multihost\n"
            "multihost.START_SECONDS = 2.0\n"
            f"with multihost.join_processes(True, '127.0.0.1:{free_port()}', 2, {process_id}): raise AssertionError"
        )
        return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)

    for process in [wait(0), wait(1)]:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 2
        message = "error: the other processes of the run did not connect within 2 seconds"
        assert errors.splitlines()[-1].startswith(message)


def test_a_process_outside_a_cluster_needs_an_address(train_script: Script) -> None:
    result = train_script("--distributed")
    assert result.returncode == 2
    assert "did not find each other" in result.stderr
    assert "Traceback" not in result.stderr
