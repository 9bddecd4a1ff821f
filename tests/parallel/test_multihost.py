"""Several processes that train one model together, over loopback: real ones, killed and continued."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ae_jax.runs.checkpoints import checkpoint_step, list_checkpoints
from ae_jax.runs.run_dir import metrics_lines
from faults.outcomes import run_outcome
from tests.conftest import ROOT
from tests.support.outcomes import assert_same_outcome

pytestmark = pytest.mark.usefixtures("environment")
RUN = ("--arch", "linear", "--batch-size", "30", "--checkpoint-every", "7steps")  # 30 is no multiple of 4
Start = Callable[..., list[subprocess.Popen[str]]]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start(*args: object, num_processes: int = 2) -> list[subprocess.Popen[str]]:
    """The processes of a run that they share."""
    command = [sys.executable, ROOT / "scripts" / "train.py", *map(str, args)]
    if num_processes > 1:
        command += ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", str(num_processes)]
    alone = {"JAX_PLATFORMS": "cpu"}  # so that processes on one machine do not share a GPU
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": os.environ | alone}
    own = [["--process-id", str(i)] if num_processes > 1 else [] for i in range(num_processes)]
    return [subprocess.Popen([*command, *flags], **pipes) for flags in own]


def end(processes: list[subprocess.Popen[str]], *expected: int) -> list[str]:
    """What they printed, once they have left as expected."""
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == list(expected), outputs
    return outputs


def newest_step(run_dir: str) -> int:
    """The step of the newest checkpoint."""
    return max((checkpoint_step(path) for path in list_checkpoints(run_dir)), default=0)


def wait_for_a_step(run_dir: str, *, after: int = 0) -> None:
    """Until there is a checkpoint of a later one."""
    deadline = time.monotonic() + 200
    while newest_step(run_dir) <= after:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize(
    "flags",
    [
        (),
        # Seed 0 comes to a ReLU so near its edge that rounding decides, which Adam makes 1e-5 of a parameter.
        ("--stream", "--arch", "conv", "--batch-size", "64", "--seed", "1"),
    ],
    ids=["linear", "conv, streamed"],
)
def test_two_processes_of_two_devices_are_one_process_of_four(flags: tuple[str, ...], own_images: Path) -> None:
    settings = (*RUN, *flags, "--dataset", own_images, "--epochs", "2")
    first, second = end(start(*settings, "--devices", "2", "--run-dir", "two"), 0, 0)
    assert "Everything is in two" in first
    assert "epoch" not in second  # the first speaks for both
    end(start(*settings, "--devices", "4", "--run-dir", "one", num_processes=1), 0)
    (arrays, metrics), (expected, expected_metrics) = run_outcome("two"), run_outcome("one")
    assert arrays.keys() == expected.keys()
    for name in (name for name in arrays if name.startswith("params/")):
        np.testing.assert_allclose(arrays[name], expected[name], atol=1e-6, rtol=0)  # the all-reduce's order
    np.testing.assert_allclose(metrics, expected_metrics, atol=1e-6)


def test_a_lost_process_ends_the_other_and_the_run_goes_on(own_images: Path) -> None:
    settings = (*RUN, "--dataset", own_images, "--devices", "2", "--epochs", "40")
    end(start(*settings, "--run-dir", "whole"), 0, 0)
    for victim, resume in ((0, ()), (1, ("--resume",))):
        before = newest_step("killed")
        processes = start(*settings, "--run-dir", "killed", *resume)
        wait_for_a_step("killed", after=before)
        processes[victim].kill()
        killed = time.monotonic()
        output, _ = processes[1 - victim].communicate(timeout=100)
        assert time.monotonic() - killed < 60
        assert processes[1 - victim].returncode > 0 or processes[1 - victim].returncode == -signal.SIGABRT
        assert len(metrics_lines(Path("killed"))) < 40
        assert "another process of this run" in output or "another task died" in output  # JAX may be faster
        processes[victim].communicate()
    end(start(*settings, "--run-dir", "killed", "--resume"), 0, 0)
    assert_same_outcome("killed", "whole")


def test_sigterm_to_one_process_ends_all_and_one_process_can_go_on(own_images: Path) -> None:
    settings = (*RUN, "--dataset", own_images, "--epochs", "40")
    processes = start(*settings, "--devices", "1", "--run-dir", "run")
    wait_for_a_step("run")
    processes[1].send_signal(signal.SIGTERM)
    first, _ = end(processes, 143, 143)
    assert "Continue with: python scripts/train.py --run-dir run --resume" in first
    done = metrics_lines(Path("run"))
    assert len(done) < 40
    (output,) = end(start("--run-dir", "run", "--resume", "--epochs", "41", "--devices", "2", num_processes=1), 0)
    assert "Continuing" in output
    assert len(metrics_lines(Path("run"))) == 41
    assert metrics_lines(Path("run"))[: len(done)] == done


def test_what_is_wrong_for_the_first_process_is_said_and_ends_all(own_images: Path) -> None:
    Path("taken").mkdir()
    (Path("taken") / "file").touch()
    processes = start(*RUN, "--dataset", own_images, "--run-dir", "taken")
    first, _ = (process.communicate(timeout=100)[0] for process in processes)
    assert processes[0].returncode == 2
    assert "taken is not empty, and nothing is overwritten" in first
    assert processes[1].returncode != 0


@pytest.mark.parametrize("process_id", [0, 1])
def test_processes_that_do_not_come_are_not_waited_for_for_ever(process_id: int) -> None:
    program = (
        "from ae_jax.parallel import multihost\n"
        "multihost.START_SECONDS = 2.0\n"
        f"with multihost.join_processes(True, '127.0.0.1:{free_port()}', 2, {process_id}): raise AssertionError"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: the run's other processes did not come within 2 seconds")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--coordinator", "localhost:1234"), "go together: give all three, or none"),
        (("--coordinator", "localhost", "--num-processes", "1", "--process-id", "0"), "must be HOST:PORT"),
        (("--coordinator", "localhost:1", "--num-processes", "2", "--process-id", "2"), "below --num-processes, not 2"),
        (("--distributed",), "did not find each other"),
    ],
)
def test_processes_that_cannot_meet_are_an_error(flags: tuple[str, ...], message: str, train_script) -> None:
    result = train_script(*flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
