"""A few fault-injection trials of each kind; `python scripts/faults.py` runs all of them."""

import errno
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import ae_jax
from ae_jax.runs.checkpoint_files import list_checkpoints
from faults import checkpoint_trials
from faults.checkpoint_trials import make_interrupted_run, sandbox, try_checkpoint
from faults.corruption import corrupt_files, make_probes
from faults.disk import fail_every_operation
from faults.hostile_checkpoints import hostile_checkpoints
from faults.interruptions import Interruptions
from faults.signals import interrupt_and_resume
from faults.workspace import Trial, Workspace
from tests.conftest import ROOT, Script
from tests.support.commands import bad_input
from tests.support.devices import needs_cpu

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="sends POSIX signals")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"), ROOT / "scripts")


def problems(trials: list[Trial]) -> list[Trial]:
    assert trials
    return [trial for trial in trials if trial.problem]


@posix
@needs_cpu
def test_killed_and_terminated_run_reproduces_the_reference(workspace: Workspace) -> None:
    assert not problems([interrupt_and_resume(workspace, 1, (signal.SIGKILL, signal.SIGTERM))])


@posix
def test_interrupted_commands_exit_in_time_and_leave_nothing_half_written(workspace: Workspace) -> None:
    interruptions = Interruptions(workspace, ["train"])
    assert not problems([interruptions.trial(seed) for seed in range(2)])


def test_run_after_a_disk_error_resumes_to_the_reference_outcome(workspace: Workspace, tmp_path: Path) -> None:
    images = workspace.folder / "tiny.npy"
    trials = list(fail_every_operation(tmp_path, images, epochs=1, errors=[errno.ENOSPC], every=5))
    assert not problems(trials)
    assert {re.sub(r"\d+", "", trial.description) for trial in trials} == {
        f"ENOSPC at {operation} " for operation in ("open", "write", "fsync", "replace")
    }


def test_no_corrupt_file_is_loaded_silently(trained_run: Callable[..., Path], tmp_path: Path) -> None:
    probes = make_probes(tmp_path, trained_run("linear", checkpoint_every="2steps"), None)
    assert not problems(list(corrupt_files(probes, flips=10, truncations=4, seed=0)))


def test_no_corrupt_mnist_is_loaded_silently(
    trained_run: Callable[..., Path], mnist_files: Path, data_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("array_record")
    ae_jax.load_dataset("mnist", "test", data_dir=data_dir, manual_dir=mnist_files)
    shutil.copytree(data_dir / "mnist", tmp_path / "prepared" / "mnist")  # it need not be prepared again
    probes = make_probes(tmp_path, trained_run("linear", checkpoint_every="2steps"), mnist_files)
    mnist = {name: probe for name, probe in probes.items() if "official" in name or "prepared" in name}
    assert len(mnist) == 4
    assert not problems(list(corrupt_files(mnist, flips=1, truncations=1, seed=0)))


@pytest.fixture
def interrupted_run(workspace: Workspace, tmp_path: Path) -> Path:
    return make_interrupted_run(tmp_path / "valid", workspace.folder / "tiny.npy")


def test_hostile_checkpoints_are_refused_or_used_and_nothing_is_written_elsewhere(
    interrupted_run: Path, tmp_path: Path
) -> None:
    hostile = list(hostile_checkpoints(list_checkpoints(interrupted_run)[-1], 300, seed=0))
    chosen = [hostile[0], hostile[-1]]  # those that must be refused are in tests/runs/test_hostile_checkpoints.py
    assert {each.refused for each in chosen} == {"perhaps"}
    with sandbox(tmp_path / "box") as box:
        problems = {each.description: try_checkpoint(each, interrupted_run, box) for each in chosen}
    assert problems == dict.fromkeys(problems)


def test_a_write_outside_the_run_and_an_accepted_hostile_checkpoint_are_found(
    interrupted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid, *_ = hostile_checkpoints(list_checkpoints(interrupted_run)[-1], 1, seed=0)
    for name in ("evaluate_run", "visualize_run"):
        monkeypatch.setattr(checkpoint_trials, name, lambda config: None)
    with sandbox(tmp_path / "box") as box:
        found = try_checkpoint(valid._replace(refused="always"), interrupted_run, box)
        assert found == "load_model: it was not refused"
        monkeypatch.setattr(checkpoint_trials, "resume", lambda run_dir, data_dir: Path("elsewhere").touch())
        assert re.match(r"resume wrote .*box/cwd/elsewhere", try_checkpoint(valid, interrupted_run, box) or "")


def test_faults_script_tries_random_arguments_and_prints_a_table(faults_script: Script) -> None:
    result = faults_script("--part", "commands", "--commands", 2, "--seed", 2)
    assert result.returncode == 0, result.stderr
    assert re.search(r"\| random command lines: exit 0 or 2, no traceback \| 2 \| 2 \| \d+ \|", result.stdout)


def test_invalid_arguments_are_a_one_line_error() -> None:
    assert bad_input("faults.py", "--kills", 0) == "error: --kills must be at least 1, not 0.\n"
