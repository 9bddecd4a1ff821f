"""Distributed runs over loopback: real processes, which find each other as if Open MPI had started them."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ae_jax.config import TrainConfig
from ae_jax.runs.train import train
from tests.conftest import ROOT, Script
from tests.support.devices import needs_devices

pytestmark = pytest.mark.usefixtures("environment")


def start(*args: object, folders: tuple[str, str] = (".", ".")) -> list[subprocess.Popen[str]]:
    """Start `train.py` as the two processes of a job, each in its working folder."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
    job = {"OMPI_MCA_orte_hnp_uri": "", "OMPI_COMM_WORLD_SIZE": "2", "JAX_COORDINATOR_ADDRESS": address}
    job |= {"JAX_PLATFORMS": "cpu"}  # processes on one machine do not share a GPU
    ranks = [{"OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_LOCAL_RANK": rank} for rank in "01"]
    command = [sys.executable, ROOT / "scripts" / "train.py", "--distributed", *map(str, args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pairs = zip(ranks, folders, strict=True)
    return [subprocess.Popen(command, env=os.environ | job | rank, cwd=folder, **pipes) for rank, folder in pairs]


def end(process: subprocess.Popen[str], code: int) -> tuple[str, str]:
    """Wait for the end of a process, check its exit code, return what it printed."""
    output, errors = process.communicate(timeout=200)
    assert process.returncode == code, (output, errors)
    return output, errors


def epochs(run_dir: str) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in Path(run_dir, "metrics.jsonl").read_text().splitlines()]
    return [(line["epoch"], line["train_loss"], line["test_loss"]) for line in lines]


def test_two_processes_match_one_and_resume_until_one_is_lost(own_images: Path) -> None:
    needs_devices(4)
    Path("elsewhere").mkdir()
    settings = {"arch": "linear", "batch_size": 30, "dataset": own_images}  # 30 images are no multiple of 4 devices
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    shared = ("--devices", 2, "--run-dir", "run")
    processes = start(*flags, *shared, "--epochs", 2, folders=(".", "elsewhere"))
    (output, _), (output_1, errors_1) = (end(process, 0) for process in processes)
    assert "Files: run" in output
    # Threads of the library write into each other's lines.
    assert [line for line in output_1.splitlines() if not re.match(r"\[Gloo\]|.* peer ranks|$", line)] == []
    assert (errors_1, list(Path("elsewhere").iterdir())) == ("", [])

    processes = start(*shared, "--resume", "--epochs", 2000)
    deadline = time.monotonic() + 200
    while len(epochs("run")) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    processes[1].kill()
    output, errors = end(processes[0], 1)
    assert "Resuming linear on own.npy in run at epoch 3" in output
    assert re.fullmatch(
        r"error: another process of this run was lost .*, with --resume if the run had begun.*\n", errors
    )
    end(processes[1], -9)

    train(TrainConfig(**settings | {"dataset": str(own_images)}, devices=4, epochs=4, run_dir="one"))
    np.testing.assert_allclose(epochs("run")[:4], epochs("one"), atol=1e-5)  # sums have another order


def test_a_job_that_is_not_there_is_a_one_line_error(train_script: Script) -> None:
    result = train_script("--distributed")
    assert result.returncode == 2
    assert re.fullmatch(
        r"error: the processes of the run did not find each other .* leave out --distributed\.\n", result.stderr
    )
