"""Resuming runs in this process: from which checkpoint, with which settings and images, and how runs are imported."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.errors import InputError
from ae_jax.exchange.torch import weights_bytes
from ae_jax.runs.train import resume, train
from ae_jax.system import write_atomic
from ae_jax.tensorfile import read_tensors, tensor_bytes
from ae_jax.training.checkpoint import latest_checkpoint, list_checkpoints
from tests.support.commands import bad_input
from tests.support.devices import needs_devices
from tests.support.outcomes import assert_same_outcome, largest_difference

pytestmark = pytest.mark.usefixtures("environment")
STEPS = 5  # per epoch of 270 images


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Path:
    """An uninterrupted run with the checkpoints of all its epochs; tests work on copies."""
    folder = tmp_path_factory.mktemp("whole")
    np.save(folder / "own.npy", digits)
    settings = {"dataset": str(folder / "own.npy"), "epochs": 3, "seed": 2, "figure_every": 0, "data_dir": str(folder)}
    return train(TrainConfig("linear", **settings, run_dir=str(folder / "run")))


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture
def stopped(run: Path) -> Path:
    """A copy of the run, as if it had been killed after its first epoch."""
    for path in list_checkpoints(run)[1:]:
        path.unlink()
    (run / "checkpoints" / ".step_00000010.safetensors.0123456789abcdef.tmp").touch()
    return run


def files(run_dir: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run_dir.rglob("*.*") if path.name != ".lock"}


def config_of(run_dir: Path) -> dict[str, object]:
    return json.loads((run_dir / "config.json").read_text())


def test_a_run_continues_after_its_newest_checkpoint(
    stopped: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume(stopped) == stopped
    assert f"Resuming linear on own.npy in {stopped} at epoch 2" in capsys.readouterr().out
    assert_same_outcome(stopped, whole)
    assert not list(stopped.rglob("*.tmp"))
    assert [entry["step"] for entry in config_of(stopped)["resumed"]] == [STEPS]


def test_a_finished_run_is_extended_to_the_bits_of_a_longer_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume(run)
    assert "already finished its 3 epochs; give a larger number of epochs" in capsys.readouterr().out
    resume(run, epochs=5, arch="linear")
    config = ae_jax.load_model(run).config
    assert config.epochs == config_of(run)["epochs"] == 5
    long = train(TrainConfig(**vars(config) | {"run_dir": str(tmp_path / "long")}))
    assert_same_outcome(run, long)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--batch-size", 32, "--batch-size 32 contradicts the run's 64; leave it out, or start a new run."),
        ("--seed", 3, "--seed 3 contradicts the run's 2; leave it out, or start a new run."),
        ("--arch", "conv", "--arch conv contradicts the run's linear; leave it out, or start a new run."),
        ("--checkpoint-every", 2, "--checkpoint-every 2 contradicts the run's 1; leave it out, or start a new run."),
        ("--dataset", "mnist", "--dataset mnist contradicts the run's "),
        ("--epochs", 1, "--epochs 1 is less than the run's 3, which may only grow."),
    ],
)
def test_another_setting_is_an_error_with_both_values(flag: str, value: object, message: str, run: Path) -> None:
    before = files(run)
    error = bad_input("train", "--run-dir", run, "--resume", flag, value)
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert files(run) == before


def test_a_file_of_images_may_move_but_not_change(stopped: Path, whole: Path, digits: np.ndarray) -> None:
    np.save("moved.npy", digits)
    np.save("other.npy", 255 - digits)
    with pytest.raises(
        InputError, match=r"other\.npy does not hold the images .*; give the file that does as `dataset`"
    ):
        resume(stopped, dataset="other.npy")
    resume(stopped, dataset="moved.npy")
    assert_same_outcome(stopped, whole)
    Path("moved.npy").rename("elsewhere.npy")
    with pytest.raises(InputError, match=r"moved\.npy"):  # the new path is the run's own now
        resume(stopped)


def test_resuming_on_other_devices_says_that_bits_may_differ(
    stopped: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_devices(2)
    resume(stopped, devices=2)
    assert re.search(r"With devices \[.*, .*\] instead of \[.*\]: the rest may differ in bits", capsys.readouterr().out)
    params = [ae_jax.load_model(run_dir).params for run_dir in (stopped, whole)]
    assert 0 < largest_difference(*params) < 1e-3  # Adam amplifies rounding
    portable = weights_bytes(ae_jax.load_model(stopped))  # what is shared names no folder
    assert b"own.npy" in portable
    assert not [text for text in (str(stopped), str(whole.parent)) if text.encode() in portable]


def test_corrupt_checkpoints_are_named_and_skipped(run: Path, whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, *newer = list_checkpoints(run)
    for path, corrupt in zip(newer, (b"", newer[1].read_bytes()[:-1]), strict=True):
        path.write_bytes(corrupt)
    assert latest_checkpoint(run) == first
    assert ae_jax.load_model(run).step == STEPS
    caplog.clear()
    resume(run)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert all(str(path) in text for path, text in zip(reversed(newer), warnings, strict=True))
    assert_same_outcome(run, whole)


def test_a_run_without_a_valid_checkpoint_is_refused(run: Path) -> None:
    for path in list_checkpoints(run):
        path.write_bytes(b"")
    for use in (resume, ae_jax.load_model, latest_checkpoint):
        with pytest.raises(InputError, match=r"no checkpoint in .* is valid; start a new run\."):
            use(run)
    shutil.rmtree(run / "checkpoints")
    assert bad_input("train", "--run-dir", run, "--resume") == (
        f"error: {run} holds no run to resume; leave out --resume to start one there.\n"
    )
    assert latest_checkpoint(run) is None


def test_a_run_of_another_version_is_refused_with_the_setting_it_does_not_know(run: Path) -> None:
    newest = latest_checkpoint(run)
    tensors, info = read_tensors(newest)
    info["run"]["config"]["dropout"] = 0.5
    write_atomic(newest, tensor_bytes(tensors, info))
    with pytest.raises(InputError, match=r"another version of ae_jax wrote this run: .*dropout"):
        resume(run)


def test_an_imported_run_is_trained_with_any_optimizer_but_no_other_model(
    untrained_run: Callable[..., Path], tmp_path: Path, own_images: Path
) -> None:
    run = shutil.copytree(untrained_run("linear"), tmp_path / "imported")
    before = ae_jax.load_model(run)
    assert (before.step, before.test_mse, config_of(run)["dataset_used"]) == (0, None, None)
    settings = {"dataset": str(own_images), "epochs": 1, "optimizer": "muon", "learning_rate": 1e-9}
    with pytest.raises(InputError, match="`latent_dim` 5 contradicts the run's 3"):
        resume(run, **settings, latent_dim=5)
    resume(run, **settings)
    after = ae_jax.load_model(run)
    assert (after.step, after.config.optimizer) == (STEPS, "muon")
    assert 0 < largest_difference(after.params, before.params) < 1e-6
    assert config_of(run)["dataset_used"] == str(own_images)
    with pytest.raises(InputError, match="`optimizer` adam contradicts the run's muon"):
        resume(run, optimizer="adam")
