"""Sweeps: each member equals its single run; files, diverged members, signals and invalid settings."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.config import SweepConfig
from ae_jax.errors import RunError
from ae_jax.runs.run_dir import EpochMetrics
from ae_jax.runs.train import resume, train
from ae_jax.sweep.report import member_name, summary_table
from ae_jax.sweep.train import train as sweep
from ae_jax.training.checkpoint import list_checkpoints, read_checkpoint
from tests.support.commands import bad_input, run_main
from tests.support.devices import needs_devices

pytestmark = pytest.mark.usefixtures("environment")


def metrics(run_dir: Path) -> list[dict[str, list[float]]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def assert_same_state(path: Path, other: Path) -> None:
    """Assert that two checkpoints hold the same bits."""
    tensors, expected = read_checkpoint(path).tensors, read_checkpoint(other).tensors
    assert tensors.keys() == expected.keys()
    assert [name for name, array in tensors.items() if not np.array_equal(array, expected[name])] == []


@pytest.mark.optimised
def test_members_equal_single_runs_and_the_best_is_one(own_images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three members do not fill two devices; nor do 243 images fill batches of 64, 27 being held out."""
    needs_devices(2)
    rates = 1e-3, 3e-3, 1e-2
    options = {"noise": 0.1, "schedule": "linear", "weight_decay_mode": "l2", "weight_decay": (0.01,)}
    config = SweepConfig("conv", dataset=str(own_images), seeds=1, learning_rate=rates, epochs=2, devices=2, **options)
    folder = sweep(config)
    assert folder == Path("runs/sweep-conv")
    names = [member_name(member) for member in config.members]
    assert sorted(path.stem for path in (folder / "members").iterdir()) == sorted(names)
    validation = metrics(folder)[-1]["validation_loss"]
    best = int(np.argmin(validation))
    assert f"Best of 3 members by validation: {names[best]}" in capsys.readouterr().out
    assert (folder / "table.md").read_text().count("\n") == 5
    assert (folder / "figures" / "curves.png").stat().st_size > 10_000
    for i, member in enumerate(config.members):
        path = folder / "members" / f"{names[i]}.safetensors"
        alone = train(dataclasses.replace(member, devices=1, validation=27, run_dir=f"alone-{i}"))
        assert_same_state(path, list_checkpoints(alone)[-1])
        assert validation[i] == pytest.approx(metrics(alone)[-1]["validation_loss"], rel=1e-6)  # another program
        assert ae_jax.load_model(path).config.learning_rate == rates[i]

    best_run = folder / "best"
    assert metrics(best_run)[-1]["validation_loss"] == validation[best]
    for run_dir in (best_run, f"alone-{best}"):
        run_main("train", "--resume", "--run-dir", run_dir, "--epochs", 3)
    assert_same_state(*(list_checkpoints(run_dir)[-1] for run_dir in (best_run, f"alone-{best}")))
    assert {path.name for path in (best_run / "figures").iterdir()} >= {"loss.png", "reconstructions_epoch_0003.png"}


def test_diverged_members_are_reported_left_out_and_without_effect_on_the_others(
    own_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_devices(2)
    settings = {"hidden": (8,), "dataset": str(own_images), "seeds": 2, "epochs": 1, "devices": 2}
    rates = 1e-3, 1e38, 1e-2
    some = sweep(SweepConfig("linear", **settings, learning_rate=rates))
    assert re.search(r"\| 1e\+38 +\| +1e-05 \| 0 \(2 more diverged\) \| +– \| +– \|", capsys.readouterr().out)
    assert len(list((some / "members").iterdir())) == 4
    (line,) = metrics(some)
    assert line["test_loss"][2:4] == [None, None]
    together = sweep(SweepConfig("linear", **settings | {"devices": 1}, learning_rate=rates, members_per_device=4))
    finite = [[x or np.nan for x in metrics(folder)[0]["test_loss"]] for folder in (some, together)]
    np.testing.assert_allclose(*finite, rtol=1e-5)  # vmap changes the order of sums
    with pytest.raises(RunError, match="all members diverged; give smaller values of `learning_rate`"):
        sweep(SweepConfig("linear", **settings, learning_rate=(1e37, 1e38)))


def test_without_validation_no_member_is_chosen_and_nothing_is_overwritten(
    own_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--arch", "linear", "--dataset", own_images, "--seeds", 1, "--epochs", 1, "--run-dir", "run")
    run_main("sweep", *flags, "--validation", 0)
    assert "no member is chosen" in capsys.readouterr().out
    assert not Path("run/best").exists()
    assert "*" not in Path("run/table.md").read_text()
    assert "run already holds a run, and nothing is overwritten" in bad_input("sweep", *flags)
    with pytest.raises(ae_jax.InputError, match="run holds no run"):
        resume("run")


def test_table_averages_only_members_that_did_not_diverge() -> None:
    config = SweepConfig(seeds=3, learning_rate=(1.0, 2.0), weight_decay=(0.0,))

    def table(validation: list[float | None]) -> list[str]:
        test = [0.01, 0.02, 0.03, 0.5, float("nan"), 0.7]
        pairs = zip(test, validation, strict=True)
        return summary_table(config, [(EpochMetrics(1, 5, 0.1, x, 1.0, 1.0, y),) for x, y in pairs]).splitlines()

    assert table([0.1, 0.2, 0.3, 0.05, float("nan"), 0.07]) == [
        "| learning rate | weight decay |               seeds |    validation MSE |          test MSE |",
        "| ------------- | -----------: | ------------------: | ----------------: | ----------------: |",
        "| 1             |            0 |                   3 | 0.20000 ± 0.10000 | 0.02000 ± 0.01000 |",
        "| 2 *           |            0 | 2 (1 more diverged) | 0.06000 ± 0.01414 | 0.60000 ± 0.14142 |",
    ]
    assert table([None] * 6)[2:] == [
        "| 1             |            0 |                   3 | 0.02000 ± 0.01000 |",
        "| 2             |            0 | 2 (1 more diverged) | 0.60000 ± 0.14142 |",
    ]


def test_members_that_differ_in_the_last_digit_have_files_of_their_own() -> None:
    config = SweepConfig(learning_rate=(1e-3, 1.0000001e-3), weight_decay=(0.0, 1e-5), seeds=1)
    assert len({member_name(member) for member in config.members}) == 4


def test_a_signal_ends_a_sweep_in_the_middle_of_an_epoch() -> None:
    np.save("own.npy", np.zeros((60_000, 28, 28), np.uint8))  # an epoch of six members takes two seconds or more
    command = [sys.executable, "-m", "ae_jax", "sweep", "--arch", "linear", "--dataset", "own.npy", "--run-dir", "run"]
    with subprocess.Popen([*command, "--seeds", "6"], stderr=subprocess.PIPE, text=True) as process:
        try:
            while not Path("run/metrics.jsonl").exists():
                assert process.poll() is None
                time.sleep(0.02)
            seconds = metrics(Path("run"))[0]["seconds"]
            time.sleep(seconds / 10)
            process.send_signal(signal.SIGINT)
            start = time.monotonic()
            _, errors = process.communicate(timeout=100)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "Interrupted.\n")
    assert time.monotonic() - start < seconds / 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--seeds", 0), "--seeds must be at least 1"),
        (("--seeds", 20_000), "--seeds must make at most 10,000 members, not 20,000"),
        (("--learning-rate", 1e-3, 1e-3), "--learning-rate must be one or more different numbers"),
        (("--learning-rate", -1), "--learning-rate must be above 0, not -1.0"),
        (("--seed", 2**32 - 1, "--seeds", 2), "--seed must be at most"),
        (("--members-per-device", 0), "--members-per-device must be at least 1"),
        (("--validation", -1), "--validation must be at least 0"),
    ],
)
def test_invalid_settings_are_one_line_errors(flags: tuple[object, ...], message: str) -> None:
    assert bad_input("sweep", *flags).startswith(f"error: {message}")
