"""Sweeps: output files, resuming, diverged members and invalid settings."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.errors import InputError, RunError
from ae_jax.runs.run_dir import metrics_lines
from ae_jax.runs.train import resume as resume_run
from ae_jax.runs.train import train
from ae_jax.sweep.config import SweepConfig
from ae_jax.sweep.results import member_name
from ae_jax.sweep.table import as_markdown, rows
from ae_jax.sweep.train import resume
from ae_jax.sweep.train import train as sweep
from ae_jax.system.tensorfile import read_tensors, write_tensors
from faults.outcomes import run_outcome
from tests.conftest import ROOT
from tests.support.devices import needs_devices
from tests.support.outcomes import assert_same_outcome

pytestmark = pytest.mark.usefixtures("environment")
SETTINGS = {"arch": "linear", "seeds": 2, "learning_rate": (1e-3, 1e-2), "epochs": 2, "devices": "2"}
HOSTILE_SETTINGS = (
    {"seeds": 10**30},
    {"seeds": "2"},
    {"learning_rate": 0.1},
    {"learning_rate": [float("nan")]},
    {"learning_rate": ["0.1"]},
    {"weight_decay": list(range(10**5)), "learning_rate": list(range(1, 10**5))},
    {"at_once": "1"},
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Path:
    """An uninterrupted sweep."""
    needs_devices(2)
    folder = tmp_path_factory.mktemp("sweep")
    np.save(folder / "own.npy", digits)
    return sweep(SweepConfig(**SETTINGS, dataset=str(folder / "own.npy"), run_dir=str(folder / "whole")))


def test_sweep_writes_table_curves_member_weights_and_the_best_run(whole: Path) -> None:
    table = (whole / "table.md").read_text().splitlines()
    assert table[0] == "| learning rate | weight decay | seeds | validation MSE, mean ± std | test MSE, mean ± std |"
    assert len(table) == 4
    assert (whole / "figures" / "curves.png").stat().st_size > 10_000
    last = metrics_lines(whole)[-1]["test_loss"]
    names = [f"learning_rate_{rate:g}-weight_decay_1e-05-seed_{seed}" for rate in (1e-3, 1e-2) for seed in (0, 1)]
    assert sorted(path.stem for path in (whole / "members").iterdir()) == sorted(names)
    for name, loss in zip(names, last, strict=True):
        trained = ae_jax.load_model(whole / "members" / f"{name}.safetensors")
        state = ae_jax.create_train_state(trained.model, key=None, params=trained.params)
        test_set = ae_jax.load_dataset(trained.config.dataset, "test")
        assert float(ae_jax.evaluate(state, test_set.images)["loss"]) == pytest.approx(loss, rel=1e-5)
    best = ae_jax.load_model(whole / "best").config
    assert best.validation == 27  # a tenth of 270
    lowest = int(np.argmin(metrics_lines(whole)[-1]["validation_loss"]))
    assert (best.learning_rate, best.seed) == [(1e-3, 0), (1e-3, 1), (1e-2, 0), (1e-2, 1)][lowest]


def test_best_run_matches_a_single_run_also_after_resuming(whole: Path, tmp_path: Path) -> None:
    best = shutil.copytree(whole / "best", tmp_path / "best")
    config = ae_jax.load_model(best).config
    settings = {"arch": "linear", "seed": config.seed, "learning_rate": config.learning_rate, "devices": "1"}
    settings["validation"] = config.validation
    alone = train(TrainConfig(**settings, dataset=config.dataset, epochs=2, run_dir=str(tmp_path / "alone")))

    np.testing.assert_allclose(
        run_outcome(best)[1], run_outcome(alone)[1], atol=1e-6
    )  # only the evaluation is compiled differently
    for folder in (best, alone):
        resume_run(folder, epochs=3)
    np.testing.assert_allclose(run_outcome(best)[1], run_outcome(alone)[1], atol=1e-6)
    assert {path.name for path in (best / "figures").iterdir()} >= {"loss.png", "reconstructions_epoch_0003.png"}


def test_extending_a_sweep_reproduces_the_longer_sweep_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    dataset = ae_jax.load_model(whole / "best").config.dataset
    longer = sweep(SweepConfig(**SETTINGS | {"epochs": 3}, dataset=dataset, run_dir=str(tmp_path / "longer")))
    copy = shutil.copytree(whole, tmp_path / "copy")
    resume(copy, epochs=3, devices="1")
    assert_same_outcome(copy, longer)
    assert ae_jax.load_model(copy / "best").config.epochs == 2  # nothing is overwritten
    assert ae_jax.load_model(copy / "best-2").config.epochs == 3
    resume(copy)
    assert sorted(path.name for path in copy.glob("best*")) == ["best", "best-2"]  # unchanged, so no best-3


def test_resuming_a_finished_sweep_changes_nothing(whole: Path, tmp_path: Path, capsys) -> None:
    copy = shutil.copytree(whole, tmp_path / "copy")
    resume(copy)
    assert "already finished its 2 epochs; pass a larger --epochs to extend it" in capsys.readouterr().out
    assert_same_outcome(copy, whole)


def test_terminated_sweep_resumes_bit_for_bit(own_images: Path, tmp_path: Path) -> None:
    arguments = ("--arch", "linear", "--seeds", "2", "--learning-rate", "1e-3", "1e-2", "--dataset", str(own_images))
    arguments += ("--epochs", "12", "--checkpoint-every", "7steps")

    def start(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, ROOT / "scripts" / "sweep.py", *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(process: subprocess.Popen[str], code: int) -> str:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == code, output
        return output

    stopped = start(*arguments, "--run-dir", "stopped")
    deadline = time.monotonic() + 200
    while len(list(Path("stopped/checkpoints").glob("step_*[1-9]*.safetensors"))) < 2:
        assert time.monotonic() < deadline
        assert stopped.poll() is None
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    assert f"Resume with: python {ROOT}/scripts/sweep.py --run-dir stopped --resume" in end(stopped, 143)
    assert len(metrics_lines(Path("stopped"))) < 12
    for process in [start("--run-dir", "stopped", "--resume"), start(*arguments, "--run-dir", "whole")]:
        end(process, 0)
    assert_same_outcome(Path("stopped"), Path("whole"))


def test_diverged_members_are_reported_and_excluded(own_images: Path, tmp_path: Path, capsys) -> None:
    needs_devices(2)
    settings = SETTINGS | {"epochs": 1, "dataset": str(own_images)}
    folder = sweep(SweepConfig(**settings | {"learning_rate": (1e-3, 1e38)}, run_dir=str(tmp_path / "some")))
    assert "| 1e+38 | 1e-05 | 0 (2 more diverged) | – | – |" in capsys.readouterr().out
    assert len(list((folder / "members").iterdir())) == 2
    assert json.loads((folder / "metrics.jsonl").read_text())["test_loss"][2:] == [None, None]
    with pytest.raises(RunError, match="all members diverged; use smaller values of --learning-rate"):
        sweep(SweepConfig(**settings | {"learning_rate": (1e37, 1e38)}, run_dir=str(tmp_path / "all")))


def test_the_best_member_is_chosen_without_the_test_images(digits: np.ndarray, tmp_path: Path) -> None:
    needs_devices(2)
    noise = np.random.default_rng(0).integers(0, 256, (30, 28, 28, 1), np.uint8)
    best = []
    for name, test_images in {"digits": digits[:30], "noise": noise}.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, x_train=digits[30:], x_test=test_images)
        folder = sweep(SweepConfig(**SETTINGS, dataset=str(path), run_dir=str(tmp_path / name)))
        config = ae_jax.load_model(folder / "best").config
        best.append((config.learning_rate, config.seed))
    assert best[0] == best[1]


def test_members_that_differ_in_the_last_digit_have_files_of_their_own() -> None:
    config = SweepConfig(learning_rate=(1e-3, 1.0000001e-3), weight_decay=(0.0, 1e-5), seeds=1)
    assert len({member_name(member) for member in config.members}) == 4


def test_without_validation_no_member_is_chosen(whole: Path, tmp_path: Path, capsys) -> None:
    dataset = ae_jax.load_model(whole / "best").config.dataset
    settings = SETTINGS | {"epochs": 1, "validation": 0}
    folder = sweep(SweepConfig(**settings, dataset=dataset, run_dir=str(tmp_path / "run")))
    assert "no member is chosen" in capsys.readouterr().out
    assert not (folder / "best").exists()
    assert "**" not in (folder / "table.md").read_text()


def test_table_averages_only_members_that_did_not_diverge() -> None:
    config = SweepConfig(seeds=3, learning_rate=(1.0, 2.0), weight_decay=(0.0,))
    validation, test = [0.1, 0.2, 0.3, 0.05, float("nan"), 0.07], [0.01, 0.02, 0.03, 0.5, float("nan"), 0.7]
    assert as_markdown(rows(config, validation, test)).splitlines() == [
        "| learning rate | weight decay | seeds | validation MSE, mean ± std | test MSE, mean ± std |",
        "|---|---|---|---|---|",
        "| 1 | 0 | 3 | 0.20000 ± 0.10000 | 0.02000 ± 0.01000 |",
        "| 2 | 0 | 2 (1 more diverged) | **0.06000 ± 0.01414** | **0.60000 ± 0.14142** |",
    ]
    assert as_markdown(rows(config, None, test)).splitlines()[2:] == [
        "| 1 | 0 | 3 | 0.02000 ± 0.01000 |",
        "| 2 | 0 | 2 (1 more diverged) | 0.60000 ± 0.14142 |",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"seeds": 20_000}, "at most 10,000 runs, not 20,000"),
        ({"learning_rate": (1e-3, 1e-3)}, "--learning-rate must be one or more different numbers"),
        ({"learning_rate": (-1.0,)}, "--learning-rate must be a finite number above 0, not -1.0"),
        ({"seed": 2**32 - 1, "seeds": 2}, r"--seed must be between 0 and 2\^32 - 1"),
        ({"at_once": 0}, "--at-once must be at least 1"),
        ({"validation": -1}, "--validation must be at least 0"),
    ],
)
def test_invalid_sweep_settings_raise_an_error(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SweepConfig(**settings)


def test_sweep_and_single_run_directories_are_not_interchangeable(
    whole: Path, trained_run: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match="is a sweep; give its directory best"):
        ae_jax.load_model(whole)
    with pytest.raises(InputError, match="holds a sweep; resume it with ae-jax sweep"):
        resume_run(whole)
    with pytest.raises(InputError, match="holds a single run; resume it with ae-jax train"):
        resume(trained_run("linear"))
    with pytest.raises(InputError, match="--seeds 3 contradicts the run's 2"):
        resume(whole, seeds=3)
    with pytest.raises(InputError, match="already holds a run, and nothing is overwritten"):
        sweep(SweepConfig(run_dir=str(whole)))


def test_resume_refuses_hostile_checkpoints_with_one_line_errors(whole: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(whole, tmp_path / "copy")
    path = ae_jax.latest_checkpoint(copy)
    tensors, info = read_tensors(path)
    config, history = info["sweep"]["config"], info["history"]
    longer = {**info["sweep"], "config": {**config, "epochs": 3}}
    hostile = [
        *({"sweep": {**info["sweep"], "config": {**config, **setting}}} for setting in HOSTILE_SETTINGS),
        *({"sweep": value} for value in (None, [], {})),
        {"history": None},
        {"history": [{**history[0], "test_loss": 0.1}, history[1]]},
        {"sweep": longer, "history": [{**history[0], "test_loss": [0.1]}, history[1]]},
        {"sweep": longer, "history": history[:1]},
        {"sweep": longer, "epochs": "2"},
        {"sweep": longer, "shuffle_key_impl": "unknown"},
    ]
    for changes in hostile:
        write_tensors(path, tensors, {**info, **changes})
        with pytest.raises(InputError) as error:
            resume(copy)
        assert str(error.value).isprintable()
