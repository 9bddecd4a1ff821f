"""New training runs: their files, what is held out, kept and refused; in processes only where that matters."""

import dataclasses
import io
import json
import operator
import re
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.errors import InputError, RunError
from ae_jax.metrics.pca import pca_mse
from ae_jax.runs.train import resume, train
from ae_jax.tensorfile import read_tensors
from ae_jax.training.checkpoint import latest_checkpoint, list_checkpoints
from tests.conftest import Script
from tests.support.devices import needs_devices

pytestmark = pytest.mark.usefixtures("environment")
STEPS = 5  # per epoch of 270 images = 4 × 64 + 14


def metrics(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def steps(run_dir: Path) -> list[int]:
    """The steps of the checkpoints."""
    return [int(path.stem.removeprefix("step_")) for path in list_checkpoints(run_dir)]


def test_a_run_writes_settings_metrics_checkpoints_and_figures(
    own_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig("linear", dataset="own.npy", epochs=5, figure_every=2)
    run_dir = train(config)
    assert run_dir == Path("runs/linear")
    assert {path.name for path in run_dir.iterdir()} - {".lock"} == {
        *("config.json", "metrics.jsonl", "checkpoints", "figures")
    }

    written = json.loads((run_dir / "config.json").read_text())
    assert dataclasses.asdict(config).items() <= written.items()
    assert (written["dataset_used"], len(written["dataset_sha256"])) == ("own.npy", 64)
    assert (written["versions"]["jax"], len(written["devices_used"])) == (jax.__version__, 1)

    lines = metrics(run_dir)
    names = {"epoch", "step", "train_loss", "test_loss", "seconds", "images_per_second"}
    assert all(line.keys() == names for line in lines)
    assert [(line["epoch"], line["step"]) for line in lines] == [(i, STEPS * i) for i in range(1, 6)]
    assert lines[4]["test_loss"] < lines[0]["test_loss"]
    assert steps(run_dir) == [15, 20, 25]
    figures = {path.name for path in (run_dir / "figures").iterdir()}
    assert figures == {f"reconstructions_epoch_{epoch:04d}.png" for epoch in (2, 4, 5)} | {"loss.png"}

    data = [ae_jax.load_dataset("own.npy", split).images for split in ("train", "test")]
    fresh = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    state = ae_jax.load_checkpoint(run_dir / "checkpoints" / "step_00000025.safetensors", fresh)
    test_mse, pca = float(ae_jax.evaluate(state, data[1])["loss"]), pca_mse(*data, 3)
    assert test_mse == pytest.approx(lines[4]["test_loss"], rel=1e-5)
    comparison = f"test MSE {test_mse:.5f}, {test_mse / pca:.2f} times worse than PCA with 3 components ({pca:.5f})"
    *_, result, files = capsys.readouterr().out.splitlines()
    assert comparison in result
    assert files == "Files: runs/linear, and what to do next: `ae-jax explore runs/linear`"


def test_a_run_with_other_layers_and_cross_entropy_reports_its_squared_error_too(
    own_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"hidden": (32, 8), "activation": "tanh", "loss": "cross-entropy", "validation": 30}
    run_dir = train(TrainConfig("linear", dataset="own.npy", epochs=1, **settings))
    printed, trained = capsys.readouterr().out, ae_jax.load_model(run_dir)
    assert trained.model == ae_jax.LinearAutoencoder(hidden=(32, 8), activation="tanh")
    state = ae_jax.create_train_state(trained.model, jax.random.key(0), params=trained.params)
    images, (line,) = ae_jax.load_dataset("own.npy", split="test").images, metrics(run_dir)
    for name, loss_fn in (("loss", ae_jax.reconstruction_loss), ("cross_entropy", ae_jax.cross_entropy_loss)):
        expected = float(ae_jax.evaluate(state, images, loss_fn=loss_fn)["loss"])
        assert line[f"test_{name}"] == pytest.approx(expected, rel=1e-5)
    losses = {
        "train cross-entropy": line["train_loss"],
        **{f"{split} MSE": line[f"{split}_loss"] for split in ("validation", "test")},
        **{f"{split} cross-entropy": line[f"{split}_cross_entropy"] for split in ("validation", "test")},
    }
    assert all(f"{name} {loss:.5f}" in printed for name, loss in losses.items())
    resume(run_dir, epochs=2)
    assert [each["epoch"] for each in metrics(run_dir)] == [1, 2]


def test_0_switches_off_what_happens_every_few_epochs_but_for_the_last(own_images: Path) -> None:
    run_dir = train(TrainConfig("linear", dataset="own.npy", epochs=2, checkpoint_every=0, figure_every=0))
    assert steps(run_dir) == [2 * STEPS]
    assert {path.name for path in (run_dir / "figures").iterdir()} == {"reconstructions_epoch_0002.png", "loss.png"}


@pytest.mark.usefixtures("offline")
def test_without_data_and_network_a_run_trains_on_synthetic_digits_and_says_so(
    glyphs_dir: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    train(TrainConfig("linear", epochs=1, steps_per_epoch=2, data_dir=str(glyphs_dir)))
    assert "using SYNTHETIC DIGITS" in caplog.text
    assert "linear on synthetic digits (NOT MNIST): test MSE" in capsys.readouterr().out
    config = json.loads(Path("runs/linear/config.json").read_text())
    assert (config["dataset"], config["dataset_used"]) == ("auto", "glyphs")
    with pytest.raises(InputError, match=r"mnist is not in .*`manual_dir`"):  # what is named has no substitute
        train(TrainConfig("conv", dataset="mnist", data_dir=str(glyphs_dir)))
    assert [path.name for path in Path("runs").iterdir()] == ["linear"]


def test_the_newest_checkpoints_and_the_best_by_validation_are_kept(own_images: Path) -> None:
    settings = {"dataset": "own.npy", "epochs": 9, "learning_rate": 0.3, "keep": 2, "figure_every": 0}
    run_dir = train(TrainConfig("linear", **settings, validation=13))
    best = min(metrics(run_dir), key=operator.itemgetter("validation_loss"))["step"]
    assert best < 8 * STEPS  # at this learning rate, the loss increases again
    assert steps(run_dir) == [best, 8 * STEPS, 9 * STEPS]
    without = train(TrainConfig("linear", **settings))
    assert steps(without) == [8 * STEPS, 9 * STEPS]  # nothing is chosen by test error


def test_validation_images_are_in_no_batch(digits: np.ndarray) -> None:
    np.savez("all.npz", x_train=digits[:297], x_test=digits[:10])
    np.savez("fewer.npz", x_train=digits[:270], x_test=digits[:10])
    settings = {"epochs": 1, "figure_every": 0}
    held_out = train(TrainConfig("linear", dataset="all.npz", validation=27, **settings))
    alone = train(TrainConfig("linear", dataset="fewer.npz", **settings))
    params = [ae_jax.load_model(run_dir).params for run_dir in (held_out, alone)]
    assert jax.tree.all(jax.tree.map(np.array_equal, *params))
    assert metrics(held_out)[0].keys() - metrics(alone)[0].keys() == {"validation_loss"}
    with pytest.raises(InputError, match="`validation` must be less than the 297 training images, not 297"):
        train(TrainConfig("linear", dataset="all.npz", validation=297))


@pytest.mark.parametrize(("batch_size", "epochs"), [(64, 1), (1000, 1), (1000, 3)])  # one step's own loss is finite
def test_a_run_that_diverges_ends_with_a_hint_and_saves_nothing_that_is_not_finite(
    batch_size: int, epochs: int, own_images: Path
) -> None:
    settings = {"batch_size": batch_size, "epochs": epochs, "learning_rate": 1e37 if epochs > 1 else 1e38}
    with pytest.raises(RunError) as error:
        train(TrainConfig("linear", dataset="own.npy", **settings))
    assert re.fullmatch(
        r"the (loss is|parameters are) not finite (at|after) step \d+; "
        r"start a new run with a smaller `learning_rate`\. Its last valid checkpoint is in runs/linear\.",
        str(error.value),
    )
    tensors, _ = read_tensors(latest_checkpoint("runs/linear"))
    assert all(np.isfinite(array).all() for name, array in tensors.items() if name.startswith("params/"))


def test_images_that_pca_reconstructs_exactly_are_reported_without_a_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("constant.npy", np.full((300, 28, 28), 9, np.uint8))
    train(TrainConfig("linear", dataset="constant.npy", epochs=1))
    assert ", while PCA with 3 components is exact on these images.\n" in capsys.readouterr().out


def test_as_many_devices_share_the_work_as_are_asked_for(own_images: Path) -> None:
    needs_devices(3)
    run_dir = train(TrainConfig("linear", dataset="own.npy", epochs=1, devices=3))  # 64 is no multiple of 3
    assert len(set(json.loads((run_dir / "config.json").read_text())["devices_used"])) == 3


def read_events(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def test_tensorboard_shows_metrics_and_figures_once_also_of_epochs_that_were_trained_again(own_images: Path) -> None:
    run_dir = train(TrainConfig("linear", dataset="own.npy", epochs=3, tensorboard=True, figure_every=2))
    for step in (10, 15):  # as if it had been killed before the checkpoint of epoch 2
        (run_dir / "checkpoints" / f"step_{step:08d}.safetensors").unlink()
    resume(run_dir)
    lines = metrics(run_dir)
    for split in ("train", "test"):
        events, name = read_events(run_dir / "tensorboard" / split), f"{split}_loss"
        scalars = events.Scalars("loss")
        assert [scalar.step for scalar in scalars] == [5, 10, 15]
        assert [scalar.value for scalar in scalars] == pytest.approx([line[name] for line in lines], rel=1e-6)
    assert read_events(run_dir / "tensorboard" / "test" / "settings").Scalars("final_MSE")[0].step == 15
    shown = {image.step: io.BytesIO(image.encoded_image_string) for image in events.Images("reconstructions")}
    assert shown.keys() == {10, 15}
    pixels = [
        np.asarray(Image.open(figure).convert("RGB"))
        for figure in (shown[10], run_dir / "figures" / "reconstructions_epoch_0002.png")
    ]
    np.testing.assert_array_equal(*pixels)


def test_missing_tensorboard_is_reported_before_the_run_starts(
    own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "ae_jax\[tensorboard\]"'):
        train(TrainConfig("linear", dataset="own.npy", tensorboard=True))
    assert not Path("runs").exists()


def test_the_users_number_of_cpu_devices_wins(
    train_script: Script, own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    result = train_script("--dataset", own_images, "--devices", 4)
    assert result.stderr == "error: JAX has 3 devices here (CPU), not 4; make --devices smaller.\n"
    assert result.returncode == 2
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["train --dataset own.npy", "evaluate {}"])
def test_a_missing_platform_is_a_one_line_error(
    command: str,
    run_script: Script,
    own_images: Path,
    untrained_run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = command.format(untrained_run("linear")).split()
    monkeypatch.setenv("JAX_PLATFORMS", "none_such")
    result = run_script(*arguments)
    message = r"error: JAX finds no device.*; set JAX_PLATFORMS to an available platform, such as cpu\.\n"
    assert re.fullmatch(message, result.stderr)
    assert result.returncode == 2
    assert not Path("runs").exists()
