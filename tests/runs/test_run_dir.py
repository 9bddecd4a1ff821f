import os
from pathlib import Path

import pytest

from ae_jax.config import TrainConfig
from ae_jax.errors import InputError
from ae_jax.runs.progress import EpochMetricsOf
from ae_jax.runs.run_dir import (
    append_metrics,
    check_run_dir_is_free,
    default_run_dir,
    held_run_dir,
    metrics_lines,
    new_run_dir,
    rewrite_metrics,
    write_metadata,
)
from ae_jax.runs.train import train
from tests.support.commands import bad_input

pytestmark = pytest.mark.usefixtures("environment")


def begin(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    write_metadata(path, {"config": {"arch": "conv"}, "resumed": []})


def test_new_run_directories_are_numbered_and_never_shared() -> None:
    paths = []
    for _ in range(3):
        with new_run_dir(None, "conv") as path:
            begin(path)
            paths.append(path)
    assert paths == [Path("runs/conv"), Path("runs/conv-2"), Path("runs/conv-3")]
    with (
        pytest.raises(InputError, match="already holds a run, and nothing is overwritten"),
        new_run_dir("runs/conv", ""),
    ):
        pass


def test_only_an_absent_an_empty_and_an_abandoned_directory_are_free(tmp_path: Path) -> None:
    check_run_dir_is_free(tmp_path / "absent")
    abandoned = tmp_path / "abandoned"
    (abandoned / "checkpoints").mkdir(parents=True)
    (abandoned / ".lock").touch()
    (abandoned / "checkpoints" / ".step_00000000.safetensors.1.tmp").touch()
    check_run_dir_is_free(abandoned)
    (abandoned / "notes.txt").touch()
    with pytest.raises(InputError, match="is not empty, and nothing is overwritten"):
        check_run_dir_is_free(abandoned)


def test_default_run_directory_is_the_only_one() -> None:
    with pytest.raises(InputError, match="runs/conv holds no run to resume"):
        default_run_dir("conv")
    begin(Path("runs/conv-pool"))
    with pytest.raises(InputError, match="runs/conv holds no run to resume"):
        default_run_dir("conv")
    begin(Path("runs/conv-7"))
    assert default_run_dir("conv") == Path("runs/conv-7")
    begin(Path("runs/conv-8"))
    with pytest.raises(InputError, match="there are several runs: runs/conv-7, runs/conv-8"):
        default_run_dir("conv")


def test_metrics_are_json_lines_in_which_a_loss_that_is_not_finite_is_null() -> None:
    epochs = [EpochMetricsOf(i, 5 * i, [0.5, float("nan")], [0.25, float("inf")], 1.0, 64.0) for i in (1, 2)]
    for metrics in epochs:
        append_metrics(Path("."), metrics)
    assert [line["test_loss"] for line in metrics_lines(Path("."))] == [[0.25, None], [0.25, None]]
    rewrite_metrics(Path("."), epochs[:1])
    assert [line["step"] for line in metrics_lines(Path("."))] == [5]


def test_a_run_directory_in_use_is_refused_with_its_holder(own_images: Path) -> None:
    pytest.importorskip("fcntl", reason="locks on directories")
    run_dir = train(TrainConfig("linear", dataset=str(own_images), epochs=1))
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock"}
    with held_run_dir(run_dir):
        for flags in ((), ("--resume",)):
            error = bad_input("train.py", "--run-dir", run_dir, "--dataset", own_images, *flags)
            assert f"{run_dir} is in use by process {os.getpid()} on " in error
    assert {path: path.read_bytes() for path in before} == before
