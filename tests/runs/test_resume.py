"""Resuming runs: bit for bit, from the newest valid checkpoint, with the settings of the run."""

import errno
import json
import operator
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.errors import InputError, RunError
from ae_jax.runs import lifecycle
from ae_jax.runs.run_dir import metrics_lines
from ae_jax.runs.train import resume, train
from ae_jax.system.tensorfile import read_tensors
from faults.outcomes import run_outcome
from tests.support.devices import needs_devices
from tests.support.outcomes import assert_same_outcome

pytestmark = pytest.mark.usefixtures("environment")
STEPS = 5  # steps per epoch of 270 images


def start_run(run_dir: Path, images: Path, **settings: object) -> Path:
    """Train the linear model in this process, by default without figures of reconstructions."""
    defaults = {"arch": "linear", "dataset": str(images), "run_dir": str(run_dir), "figure_every": 0}
    return train(TrainConfig(**defaults | settings))


@pytest.fixture
def start(own_images: Path) -> Callable[..., Path]:
    """`start_run` on `own_images`."""
    return lambda run_dir, **settings: start_run(run_dir, own_images, **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Path:
    """An uninterrupted run with all its checkpoints; tests work on copies."""
    folder = tmp_path_factory.mktemp("whole")
    np.save(folder / "own.npy", digits)
    return start_run(folder / "run", folder / "own.npy", epochs=3, checkpoint_every="1steps", keep=99)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of the run, for tests that modify or resume it."""
    return shutil.copytree(whole, tmp_path / "copy")


def checkpoints(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def files(run_dir: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run_dir.rglob("*.*") if path.name != ".lock"}


def step(number: int) -> str:
    return f"step_{number:08d}.safetensors"


@pytest.mark.parametrize("at", [1, STEPS, 7, 3 * STEPS - 1, 3 * STEPS])
def test_resume_from_any_step_reproduces_the_run_bit_for_bit(at: int, whole: Path, copy: Path) -> None:
    for path in (copy / "checkpoints").iterdir():
        if path.name > step(at):
            path.unlink()
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "st')  # a partly written line of the killed process
    assert resume(copy) == copy
    assert_same_outcome(copy, whole)


def test_extending_a_run_reproduces_the_longer_run_bit_for_bit(
    start: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path / "long", epochs=3)
    start(tmp_path / "short", epochs=2)
    resume(tmp_path / "short", epochs=3, arch="linear")
    assert_same_outcome(tmp_path / "short", tmp_path / "long")
    config = json.loads((tmp_path / "short" / "config.json").read_text())
    assert config["epochs"] == 3
    assert [entry["step"] for entry in config["resumed"]] == [2 * STEPS]
    capsys.readouterr()
    resume(tmp_path / "short")
    assert "already finished its 3 epochs; pass a larger --epochs to extend it" in capsys.readouterr().out
    assert_same_outcome(tmp_path / "short", tmp_path / "long")


def test_extending_a_run_stretches_its_schedule_with_a_message(
    start: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path / "run", epochs=1, schedule="cosine")
    resume(tmp_path / "run", epochs=2)
    assert "The learning-rate schedule is now that of a run of 2 epochs." in capsys.readouterr().out
    _, lines = run_outcome(tmp_path / "run")
    assert lines[1][3] < lines[0][3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 32}, "--batch-size 32 contradicts the run's 64; leave it out, or start a new run."),
        ({"learning_rate": 0.1}, "--learning-rate 0.1 contradicts the run's 0.001; leave it out"),
        ({"arch": "conv"}, "--arch conv contradicts the run's linear"),
        ({"dataset": "mnist"}, "--dataset mnist contradicts the run's"),
        ({"epochs": 1}, "--epochs 1 contradicts the run's 3, which only a larger number extends"),
    ],
)
def test_contradicting_setting_raises_an_error_with_both_values(
    settings: dict[str, object], message: str, copy: Path
) -> None:
    before = files(copy)
    with pytest.raises(InputError) as error:
        resume(copy, **settings)
    assert message in str(error.value)
    assert files(copy) == before


def test_resume_rejects_a_dataset_file_whose_content_changed(
    start: Callable[..., Path], own_images: Path, tmp_path: Path
) -> None:
    start(tmp_path / "run", epochs=1)
    np.save(own_images, 255 - np.load(own_images))
    with pytest.raises(InputError, match=r"does not hold the images that the run in .* was started with"):
        resume(tmp_path / "run", epochs=2)


def test_a_file_of_images_may_move_but_not_change(start: Callable[..., Path], own_images: Path, tmp_path: Path) -> None:
    start(tmp_path / "run", epochs=1)
    moved, other = own_images.rename(tmp_path / "moved.npy"), tmp_path / "other.npy"
    np.save(other, 255 - np.load(moved))
    with pytest.raises(InputError, match=r"own\.npy does not exist"):
        resume(tmp_path / "run", epochs=2)
    with pytest.raises(InputError, match=r"other\.npy does not hold .* pass the file that does as --dataset"):
        resume(tmp_path / "run", epochs=2, dataset=str(other))
    resume(tmp_path / "run", epochs=2, dataset=str(moved))
    resume(tmp_path / "run", epochs=3)  # the new path is the run's own now
    assert len(metrics_lines(tmp_path / "run")) == 3


@pytest.mark.parametrize("fate", ["moved", "deleted"])
def test_a_run_ends_when_its_directory_is_moved_or_deleted(
    fate: str, start: Callable[..., Path], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    with ThreadPoolExecutor() as pool:
        training = pool.submit(start, run_dir, epochs=10**6)
        while not (run_dir / "metrics.jsonl").exists() and not training.done():
            time.sleep(0.01)
        run_dir.rename(tmp_path / "elsewhere")
        if fate == "deleted":
            shutil.rmtree(tmp_path / "elsewhere")
        with pytest.raises(RunError, match=r"run was deleted or moved while the run trained, which ends it"):
            training.result(timeout=60)
    assert not run_dir.exists()


def test_resume_on_another_number_of_devices_works_with_a_message(
    start: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_devices(2)
    start(tmp_path / "one", epochs=2)
    start(tmp_path / "two", epochs=1)
    capsys.readouterr()
    resume(tmp_path / "two", epochs=2, devices="2")
    assert "2 devices (cpu:0, cpu:1) instead of 1 device (cpu:0)" in capsys.readouterr().out.replace(
        "TFRT_CPU_", "cpu:"
    )
    (arrays, lines), (others, other_lines) = run_outcome(tmp_path / "two"), run_outcome(tmp_path / "one")
    np.testing.assert_allclose(lines, other_lines, rtol=1e-4)  # Adam amplifies rounding
    assert int(arrays["step"]) == int(others["step"])


def test_corrupt_checkpoints_are_reported_skipped_and_quarantined(
    whole: Path, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = [copy / "checkpoints" / step(number) for number in range(8, 3 * STEPS + 1)]
    for path in newest:
        path.write_bytes(path.read_bytes()[:-1])
    assert ae_jax.latest_checkpoint(copy) == copy / "checkpoints" / step(7)
    resume(copy)
    assert all(f"{path} is corrupt" in caplog.text for path in newest)
    assert_same_outcome(copy, whole)
    assert {path.name for path in copy.rglob("*.damaged")} == {f"{path.name}.damaged" for path in newest}


def test_resume_without_a_valid_checkpoint_raises_an_error(copy: Path) -> None:
    for path in (copy / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no checkpoint in .* is valid; start a new run"):
        resume(copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match="holds no checkpoint to resume from"):
        resume(copy)
    assert ae_jax.latest_checkpoint(copy) is None


def test_newest_checkpoints_and_the_best_one_are_kept(start: Callable[..., Path], tmp_path: Path) -> None:
    settings = {"epochs": 9, "learning_rate": 0.3, "keep": 2}
    run_dir = start(tmp_path / "run", **settings, validation=13)
    best = min(metrics_lines(run_dir), key=operator.itemgetter("validation_loss"))["step"]
    assert checkpoints(run_dir) == sorted({step(best), step(8 * STEPS), step(9 * STEPS)})
    assert best < 8 * STEPS  # at this learning rate, the loss increases again
    without = start(tmp_path / "without", **settings)
    assert checkpoints(without) == [step(8 * STEPS), step(9 * STEPS)]  # nothing is chosen by test error
    never = start(tmp_path / "never", epochs=2, checkpoint_every="0")
    assert checkpoints(never) == [step(2 * STEPS)]


def test_validation_images_are_in_no_batch(digits: np.ndarray, tmp_path: Path) -> None:
    params = []
    for name, train_images, validation in (("all", digits[:297], 27), ("fewer", digits[:270], 0)):
        np.savez(tmp_path / f"{name}.npz", x_train=train_images, x_test=digits[:10])
        run_dir = start_run(tmp_path / name, tmp_path / f"{name}.npz", epochs=1, validation=validation)
        params.append(ae_jax.load_model(run_dir).params)
    assert jax.tree.all(jax.tree.map(np.array_equal, *params))
    losses = [set(metrics_lines(tmp_path / name)[0]) for name in ("all", "fewer")]
    assert losses[0] - losses[1] == {"validation_loss"}
    with pytest.raises(InputError, match="--validation must be less than the 297 training images, not 297"):
        start_run(tmp_path / "none", tmp_path / "all.npz", validation=297)


def test_resume_removes_temporary_files_of_a_killed_process(copy: Path) -> None:
    for name in (".config.json.1.tmp", "checkpoints/.step_00000005.safetensors.1.tmp", "figures/.loss.png.1.tmp"):
        (copy / name).touch()
    resume(copy)
    assert not list(copy.rglob("*.tmp"))


def test_run_dir_without_a_complete_checkpoint_can_be_reused(start: Callable[..., Path], tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "checkpoints").mkdir(parents=True)
    for name in (".lock", "checkpoints/.step_00000000.safetensors.1.tmp"):
        (run_dir / name).touch()
    assert start(run_dir, epochs=1) == run_dir


def test_resume_finds_the_only_run_of_an_architecture(start: Callable[..., Path]) -> None:
    start(Path("runs/linear"), epochs=1)
    assert resume(arch="linear", epochs=2) == Path("runs/linear")
    start(Path("runs/linear-2"), epochs=1)
    with pytest.raises(InputError, match="several runs: runs/linear, runs/linear-2; choose one with --run-dir"):
        resume(arch="linear")


def test_non_finite_parameters_are_never_saved(start: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"not finite .* The last valid checkpoint is") as error:
        start(tmp_path / "run", epochs=3, learning_rate=1e37, checkpoint_every="1steps")
    good = ae_jax.latest_checkpoint(tmp_path / "run")
    assert str(good) in str(error.value)
    arrays, _ = read_tensors(good)
    assert all(np.isfinite(array).all() for name, array in arrays.items() if name.startswith("params/"))


def test_resume_hint_repeats_the_folders_which_no_checkpoint_decides(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr(lifecycle, "train_loop", fail)
    flags = f"--run-dir {tmp_path}/run --data-dir '{tmp_path}/my data' --resume"
    with pytest.raises(RunError) as error:
        start(tmp_path / "run", data_dir=f"{tmp_path}/my data")
    assert str(error.value).endswith(f"Resume with: ae-jax train {flags}")


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize(
    "body",
    ["resume('run', epochs=4)", "train(TrainConfig('linear', dataset=sys.argv[1], epochs=1, run_dir='run'))"],
)
def test_a_signal_during_compilation_says_how_to_resume_if_there_is_a_checkpoint(
    body: str, whole: Path, own_images: Path
) -> None:
    program = (
        "import glob, os, signal, sys, time, jax\n"
        "from ae_jax.cli import run_command\n"
        "from ae_jax.config import TrainConfig\n"
        "from ae_jax.runs.train import resume, train\n"
        "really_compile = jax.stages.Lowered.compile\n"
        "def compile(*arguments):\n"
        "    if glob.glob('run/checkpoints/*'):\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return really_compile(*arguments)\n"
        "jax.stages.Lowered.compile = compile\n"
        f"run_command(lambda: {body})"
    )
    if body.startswith("resume"):
        shutil.copytree(whole, "run")
    command = [sys.executable, "-c", program, own_images]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    hint = "Terminated. Resume with: ae-jax train --run-dir run --resume\n"
    assert (result.returncode, result.stderr) == (143, hint)
