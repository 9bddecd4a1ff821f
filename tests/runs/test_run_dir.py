"""Run directories: which ones are free, in use, or chosen by default, and what an error of the disk says."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from ae_jax.config import TrainConfig
from ae_jax.errors import RunError
from ae_jax.runs.train import resume, train
from ae_jax.training.checkpoint import latest_checkpoint
from tests.support.commands import bad_input

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def settings(own_images: Path) -> dict[str, object]:
    """Those of a short run."""
    return {"arch": "linear", "dataset": "own.npy", "epochs": 1, "figure_every": 0}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_default_directories_are_numbered_and_the_only_one_is_resumed(settings: dict[str, object]) -> None:
    assert bad_input("train", "--resume").startswith("error: runs/conv holds no run to resume; ")
    Path("runs/linear-3").mkdir(parents=True)
    Path("runs/linear-notes").mkdir()
    assert train(TrainConfig(**settings)) == Path("runs/linear")
    assert resume(arch="linear", epochs=2) == Path("runs/linear")
    assert train(TrainConfig(**settings)) == Path("runs/linear-2")
    assert train(TrainConfig(**settings)) == Path("runs/linear-4")
    several = "error: there are several runs: runs/linear, runs/linear-2, runs/linear-4; choose one with --run-dir.\n"
    assert bad_input("train", "--resume", "--arch", "linear") == several


def test_a_directory_that_holds_a_run_or_other_files_is_refused(settings: dict[str, object]) -> None:
    run_dir = train(TrainConfig(**settings))
    Path("notes").mkdir()
    Path("notes/diary.txt").touch()
    before = contents(Path())
    for folder, error in {run_dir: "already holds a run", "notes": "is not empty", "own.npy/run": "cannot be"}.items():
        said = bad_input("train", "--arch", "linear", "--dataset", "own.npy", "--run-dir", folder)
        assert error in said
        assert said.count("\n") == 1
    assert contents(Path()) == before


def test_a_directory_is_used_again_if_a_run_was_killed_at_its_start(settings: dict[str, object]) -> None:
    Path("run/checkpoints").mkdir(parents=True)
    for name in (".lock", "checkpoints/.step_00000000.safetensors.0123456789abcdef.tmp"):
        Path("run", name).touch()
    assert train(TrainConfig(**settings, run_dir="run")) == Path("run")
    assert not list(Path("run").rglob("*.tmp"))


def test_a_directory_in_use_is_refused_until_its_process_ends(settings: dict[str, object]) -> None:
    run_dir = train(TrainConfig(**settings))
    before = contents(run_dir)
    Path("new").mkdir()
    with FileLock(run_dir / ".lock"), FileLock("new/.lock"):
        error = bad_input("train", "--run-dir", run_dir, "--resume", "--epochs", 2)
        assert (
            error
            == f"error: {run_dir} is in use by another process; wait until it ends, or choose another --run-dir.\n"
        )
        assert "new is in use" in bad_input("train", "--dataset", "own.npy", "--run-dir", "new")
    assert contents(run_dir) == before
    assert resume(run_dir, epochs=2) == run_dir


def test_a_failed_write_ends_the_run_with_how_to_resume(
    settings: dict[str, object], limit_file_size: Callable[[int], None]
) -> None:
    run_dir = train(TrainConfig(**settings, data_dir="my data"))
    before = contents(run_dir / "checkpoints")
    limit_file_size(100_000)  # bytes, fewer than a checkpoint has
    with pytest.raises(RunError) as error:
        resume(run_dir, epochs=2, data_dir="my data")
    assert str(error.value) == (
        f"{run_dir}/checkpoints/step_00000005.safetensors cannot be written (File too large). "
        f"Resume with: ae-jax train --run-dir {run_dir} --data-dir 'my data' --resume"
    )
    assert contents(run_dir / "checkpoints") == before
    assert latest_checkpoint(run_dir)
    with pytest.raises(RunError, match=r"new/checkpoints/step_0+\.safetensors cannot .* Choose another `run_dir`\.$"):
        train(TrainConfig(**settings, run_dir="new"))
