"""Training runs: their files, repetition and errors; in a subprocess only where that is what is tested."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.errors import RunError
from ae_jax.runs.train import train
from tests.conftest import ROOT, Script
from tests.support.devices import needs_devices


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("arch", ["conv", "linear"])
def test_run_writes_settings_metrics_weights_and_figures(
    arch: str, own_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = train(TrainConfig(arch, dataset=str(own_images), epochs=3, figure_every=2))
    assert run_dir == Path("runs") / arch

    config = json.loads((run_dir / "config.json").read_text())
    assert config["arch"] == arch
    assert config["epochs"] == 3
    assert config["dataset_used"] == str(own_images)
    assert config["versions"]["jax"] == jax.__version__
    assert config["devices"] == "auto"
    assert config["devices_used"]
    assert config["checkpoint_every"] == "1"

    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    keys = {"epoch", "step", "train_loss", "test_loss", "seconds", "images_per_second"}
    assert all(line.keys() == keys for line in lines)
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 5), (2, 10), (3, 15)]  # 270 = 4 × 64 + 14
    assert lines[2]["test_loss"] < lines[0]["test_loss"]

    figures = {path.name for path in (run_dir / "figures").iterdir()}
    assert figures == {"reconstructions_epoch_0002.png", "reconstructions_epoch_0003.png", "loss.png"}

    model = {"conv": ae_jax.ConvAutoencoder, "linear": ae_jax.LinearAutoencoder}[arch]()
    fresh = ae_jax.create_train_state(model, jax.random.key(0))
    state = ae_jax.load_checkpoint(run_dir / "checkpoints" / "step_00000015.safetensors", fresh)
    test_images = ae_jax.load_dataset(str(own_images), "test").images
    test_mse = float(ae_jax.evaluate(state, test_images)["loss"])
    assert test_mse == pytest.approx(lines[2]["test_loss"], rel=1e-5)

    pca = ae_jax.pca_mse(ae_jax.load_dataset(str(own_images)).images, test_images, model.latent_dim)
    last_line = capsys.readouterr().out.splitlines()[-1]
    factor, word = (pca / test_mse, "better") if test_mse <= pca else (test_mse / pca, "worse")
    comparison = f"{factor:.2f} times {word} than PCA with {model.latent_dim} components"
    assert f"test MSE {test_mse:.5f}, {comparison}" in last_line
    assert last_line.endswith(str(run_dir))


@pytest.mark.usefixtures("environment", "offline")
def test_without_data_and_network_a_run_trains_on_glyphs_and_says_so(
    glyphs_dir: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    train(TrainConfig("linear", epochs=1, data_dir=str(glyphs_dir)))
    assert "using the built-in GLYPHS" in caplog.text
    assert "linear on embedded glyphs (NOT MNIST): test MSE" in capsys.readouterr().out.splitlines()[-1]
    config = json.loads(Path("runs/linear/config.json").read_text())
    assert (config["dataset"], config["dataset_used"]) == ("auto", "glyphs")
    assert json.loads(Path("runs/linear/metrics.jsonl").read_text())["step"] == 938


@pytest.mark.usefixtures("environment", "offline")
def test_without_data_and_network_mnist_is_an_error_that_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ae_jax.InputError, match=r"mnist is not in .* --manual-dir"):
        train(TrainConfig(dataset="mnist", data_dir=str(tmp_path / "data")))
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("batch_size", [64, 1000])  # with one step per epoch the training loss is still finite
def test_a_loss_that_is_not_finite_ends_the_run(batch_size: int, own_images: Path) -> None:
    settings = {"dataset": str(own_images), "epochs": 1, "batch_size": batch_size, "learning_rate": 1e38}
    with pytest.raises(RunError) as error:
        train(TrainConfig("linear", **settings))
    assert re.fullmatch(
        r"the loss is not finite at step \d+; start a new run with a smaller --learning-rate\. "
        r"The last valid checkpoint is runs/linear/checkpoints/step_00000000\.safetensors\.",
        str(error.value),
    )
    assert ae_jax.latest_checkpoint("runs/linear") == Path("runs/linear/checkpoints/step_00000000.safetensors")


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.usefixtures("environment")
def test_a_signal_ends_a_run_with_a_checkpoint_and_how_to_resume(own_images: Path) -> None:
    command = [sys.executable, ROOT / "scripts/train.py", "--arch", "linear", "--dataset", own_images]
    with subprocess.Popen([*command, "--epochs", "100000"], stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not Path("runs/linear/metrics.jsonl").exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors == f"Interrupted. Resume with: python {ROOT}/scripts/train.py --run-dir runs/linear --resume\n"
    assert ae_jax.latest_checkpoint("runs/linear")


@pytest.mark.usefixtures("environment")
def test_images_that_pca_reconstructs_exactly_are_reported_without_a_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("constant.npy", np.full((300, 28, 28), 9, np.uint8))
    train(TrainConfig("linear", dataset="constant.npy", epochs=1))
    assert ", while PCA with 3 components is exact on these images. Everything is in" in capsys.readouterr().out


@pytest.mark.usefixtures("environment")
def test_as_many_devices_share_the_work_as_are_asked_for(own_images: Path) -> None:
    needs_devices(3)
    run_dir = train(TrainConfig("linear", dataset=str(own_images), epochs=1, devices=3))  # 64 is no multiple of 3
    config = json.loads((run_dir / "config.json").read_text())
    assert config["devices"] == "3"
    assert len(set(config["devices_used"])) == 3


def test_the_users_number_of_cpu_devices_wins(
    train_script: Script, own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    result = train_script("--dataset", own_images, "--devices", 4)
    assert result.returncode == 2
    assert result.stderr == "error: --devices 4: JAX has 3 here (CPU); ask for no more.\n"
    assert not Path("runs").exists()


def test_a_missing_platform_is_a_one_line_error_of_every_command(
    run_script: Script, untrained_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = untrained_run("linear")
    monkeypatch.setenv("JAX_PLATFORMS", "none_such")
    convert = ("convert.py", "from-torch", run.parent / "model.safetensors", tmp_path / "imported")
    for command in (("evaluate.py", run), convert):  # the others read a run, too, as evaluate.py does
        result = run_script(*command)
        assert result.returncode == 2
        assert re.fullmatch(r"error: JAX finds no device.*\n", result.stderr)


def test_training_on_a_missing_platform_is_a_one_line_error(
    train_script: Script, own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "none_such")
    result = train_script("--dataset", own_images)
    assert result.returncode == 2
    assert re.fullmatch(
        r"error: JAX finds no device.*; set JAX_PLATFORMS to an available platform, such as cpu\.\n", result.stderr
    )
    assert not Path("runs").exists()
