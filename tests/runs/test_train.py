"""The whole command, as its users run it: a process, a run directory, an exit code."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

import ae_jax
from ae_jax.cli import parse
from ae_jax.config import TrainConfig, fast
from ae_jax.parallel.mesh import num_cores
from tests.conftest import ROOT, Script
from tests.support.bad_array_files import bad_array_files
from tests.support.outcomes import assert_same_outcome


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("arch", ["conv", "linear"])
def test_a_run_leaves_its_settings_numbers_weights_and_pictures(
    arch: str, train_script: Script, own_images: Path
) -> None:
    result = train_script("--arch", arch, "--dataset", own_images, "--epochs", 3, "--figure-every", 2)
    assert result.returncode == 0, result.stderr
    run_dir = Path("runs") / arch

    config = json.loads((run_dir / "config.json").read_text())
    assert config["arch"] == arch
    assert config["epochs"] == 3
    assert config["dataset_used"] == str(own_images)
    assert config["versions"]["jax"] == jax.__version__
    assert config["devices"] == "auto"
    assert config["devices_used"]

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
    last_line = result.stdout.splitlines()[-1]
    factor, word = (pca / test_mse, "better") if test_mse <= pca else (test_mse / pca, "worse")
    assert (
        f"test MSE {test_mse:.5f}, {factor:.2f} times {word} than PCA with {model.latent_dim} components" in last_line
    )
    assert last_line.endswith(str(run_dir))


def test_a_run_repeats_bit_for_bit_and_never_overwrites(
    train_script: Script, own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # compiled twice, it is the same program too
    arguments = ("--arch", "linear", "--dataset", own_images, "--epochs", 1)
    run_dir = Path("runs/linear")
    assert train_script(*arguments).returncode == 0
    first = contents(run_dir)
    assert train_script(*arguments).returncode == 0
    refused = train_script(*arguments, "--run-dir", run_dir)
    assert refused.returncode == 2
    way_on = "continue it with --resume, or give another --run-dir"
    assert refused.stderr == f"error: {run_dir} already holds a run, and nothing is overwritten; {way_on}.\n"
    assert contents(run_dir) == first
    assert {path.name for path in Path("runs").iterdir()} == {"linear", "linear-2"}

    second = contents(Path("runs/linear-2"))
    assert second["figures/reconstructions_epoch_0001.png"] == first["figures/reconstructions_epoch_0001.png"]
    assert_same_outcome(run_dir, Path("runs/linear-2"))


BAD_ARGUMENTS = {
    "arch": (["--arch", "resnet"], "argument --arch: invalid choice: 'resnet'"),
    "dataset": (["--dataset", "cifar"], "unknown dataset 'cifar'; choose auto, mnist"),
    "no such flag": (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
    "no epochs": (["--epochs", "0"], "--epochs must be at least 1, not 0"),
    "negative epochs": (["--epochs", "-1"], "--epochs must be at least 1, not -1"),
    "epochs in words": (["--epochs", "ten"], "argument --epochs: invalid int value: 'ten'"),
    "no batch": (["--batch-size", "0"], "--batch-size must be at least 1, not 0"),
    "no rate": (["--learning-rate", "0"], "--learning-rate must be a finite number above 0, not 0.0"),
    "negative rate": (["--learning-rate", "-0.001"], "--learning-rate must be a finite number above 0, not -0.001"),
    "infinite rate": (["--learning-rate", "inf"], "--learning-rate must be a finite number above 0, not inf"),
    "rate that is no number": (["--learning-rate", "nan"], "--learning-rate must be a finite number above 0, not nan"),
    "rate beyond float32": (["--learning-rate", "1e39"], "--learning-rate must be a finite number above 0, not 1e+39"),
    "negative decay": (["--weight-decay", "-1"], "--weight-decay must be a finite number, 0 or above, not -1.0"),
    "schedule": (["--schedule", "linear"], "argument --schedule: invalid choice: 'linear'"),
    "warm-up": (["--warmup", "1.5"], "--warmup must be between 0 and 1, not 1.5"),
    "beta1": (["--beta1", "0.99999999"], "--beta1 must be 0 or above and, rounded to float32, below 1, not 0.99999999"),
    "beta2": (["--beta2", "-0.1"], "--beta2 must be 0 or above and, rounded to float32, below 1, not -0.1"),
    "recipe": (["--recipe", "slow"], "argument --recipe: invalid choice: 'slow'"),
    "recipe's setting": (["--recipe", "fast", "--epochs", "0"], "--epochs must be at least 1, not 0"),
    "no devices": (["--devices", "0"], "--devices must be auto or a number, 1 or more, not 0"),
    "devices beyond counting": (["--devices", "9" * 5000], "--devices must be auto or a number, 1 or more, not 999"),
    "devices in words": (["--devices", "two"], "--devices must be auto or a number, 1 or more, not two"),
    "keep none": (["--keep", "0"], "--keep must be at least 1, not 0"),
    "checkpoints": (["--checkpoint-every", "3 steps"], "--checkpoint-every must be a number, or as 200steps, not 3 st"),
    "no run to resume": (["--resume"], "runs/conv holds no run to continue; say by --run-dir where it is"),
    "no run there": (["--resume", "--run-dir", "x"], "x holds no run to continue; leave out --resume to start one"),
    "devices beyond a batch": (
        ["--dataset", "own.npy", "--devices", "3", "--batch-size", "2"],
        "--devices 3 cannot share a batch of 2; make --batch-size larger",
    ),
    "seed": (["--seed", "-1"], "--seed must be between 0 and 2^32 - 1, not -1"),
    "run folder under a file": (
        ["--run-dir", "file/run", "--dataset", "own.npy"],
        "file/run is no folder; give another --run-dir",
    ),
    "run folder is a file": (["--run-dir", "file"], "file is no folder"),
    "data folder under a file": (["--data-dir", "file/data", "--dataset", "glyphs"], "cannot be written"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments_are_one_sentence_and_leave_nothing_behind(
    case: str, train_script: Script, own_images: Path, tmp_path: Path
) -> None:
    arguments, message = BAD_ARGUMENTS[case]
    (tmp_path / "file").touch()
    before = contents(tmp_path)
    result = train_script(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert contents(tmp_path) == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["shape", "pickled", "truncated.npz", "missing"])
def test_bad_array_files_are_one_sentence_and_leave_nothing_behind(
    name: str, train_script: Script, tmp_path: Path
) -> None:
    path, message = bad_array_files(tmp_path)[name]
    result = train_script("--dataset", path)
    assert result.returncode == 2
    assert re.search(message, result.stderr)
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("offline", "optimised")
def test_without_data_and_network_a_run_trains_on_glyphs_and_says_so(train_script: Script, tmp_path: Path) -> None:
    result = train_script("--arch", "linear", "--epochs", 1, "--data-dir", tmp_path / "data")
    assert result.returncode == 0, result.stderr
    assert "using the embedded GLYPHS" in result.stderr
    assert "linear on embedded glyphs (NOT MNIST): test MSE" in result.stdout.splitlines()[-1]
    config = json.loads(Path("runs/linear/config.json").read_text())
    assert (config["dataset"], config["dataset_used"]) == ("auto", "glyphs")
    assert json.loads(Path("runs/linear/metrics.jsonl").read_text())["step"] == 938


@pytest.mark.usefixtures("offline")
def test_without_data_and_network_mnist_is_an_error_that_says_how_to_get_it(
    train_script: Script, tmp_path: Path
) -> None:
    result = train_script("--dataset", "mnist", "--data-dir", tmp_path / "data")
    assert result.returncode == 2
    assert "mnist is not in" in result.stderr
    assert "--manual-dir" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batch_size", [64, 1000])  # of one step an epoch the training loss is still finite
def test_a_loss_that_is_not_finite_ends_the_run(batch_size: int, train_script: Script, own_images: Path) -> None:
    arguments = ("--arch", "linear", "--dataset", own_images, "--epochs", 1, "--batch-size", batch_size)
    result = train_script(*arguments, "--learning-rate", 1e38)
    assert result.returncode == 1
    assert re.fullmatch(
        r"error: the loss is not finite at step \d+; start a new run with a smaller --learning-rate\. "
        r"The last good checkpoint is runs/linear/checkpoints/step_00000000\.safetensors\.\n",
        result.stderr,
    )
    assert ae_jax.latest_checkpoint("runs/linear") == Path("runs/linear/checkpoints/step_00000000.safetensors")


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.usefixtures("environment")
def test_signals_end_a_run_with_their_exit_codes(signum: int, code: int, times: int, own_images: Path) -> None:
    command = [sys.executable, ROOT / "scripts/train.py", "--dataset", own_images, "--epochs", "100000"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not Path("runs/conv/metrics.jsonl").exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            for _ in range(times):  # the second ends it at once
                process.send_signal(signum)
                time.sleep(0.02)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    word = {130: "Interrupted", 143: "Terminated"}[code]
    assert errors == f"{word}. Continue with: python scripts/train.py --run-dir runs/conv --resume\n"
    assert ae_jax.latest_checkpoint("runs/conv")


def test_help_has_one_line_a_flag_with_its_default(train_script: Script) -> None:
    result = train_script("--help")
    assert result.returncode == 0
    lines = dict(re.findall(r"^  --([a-z0-9-]+) (.*)$", result.stdout.split("options:\n")[1], re.MULTILINE))
    fields = {field.name.replace("_", "-"): field.default for field in dataclasses.fields(TrainConfig)}
    fields["recipe"] = "tutorial"
    assert lines.pop("resume")
    assert len(lines) + len(["--help", "--resume"]) == len(result.stdout.split("options:\n")[1].splitlines())
    assert lines.keys() == fields.keys()
    for name, default in fields.items():
        assert f"({default})" in lines[name] or (default is None and "default" in lines[name]) or default is False
        assert lines[name].strip()


def test_as_many_devices_share_the_work_as_are_asked_for(train_script: Script, own_images: Path) -> None:
    arguments = ("--arch", "linear", "--dataset", own_images, "--epochs", 1)
    result = train_script(*arguments, "--devices", 3)  # 64 images are no multiple of 3
    assert result.returncode == 0, result.stderr
    config = json.loads(Path("runs/linear/config.json").read_text())
    assert config["devices"] == "3"
    assert len(set(config["devices_used"])) == 3


@pytest.mark.usefixtures("optimised")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or num_cores() < 2, reason="wants several cores")
def test_one_device_computes_the_same_bits_on_any_number_of_cores(
    train_script: Script, own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # a program compiled for one core is not the one for two
    cores = os.sched_getaffinity(0)
    for shown in (cores, {min(cores)}):
        run_dir = Path(f"runs/{len(shown)}")
        os.sched_setaffinity(0, shown)  # and with it what this process starts
        try:
            arguments = ("--arch", "linear", "--dataset", own_images, "--epochs", 2, "--devices", 1)
            result = train_script(*arguments, "--run-dir", run_dir)
        finally:
            os.sched_setaffinity(0, cores)
        assert result.returncode == 0, result.stderr
    assert_same_outcome(Path(f"runs/{len(cores)}"), Path("runs/1"))


def test_more_devices_than_there_are_is_one_sentence(
    train_script: Script, own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")  # the user's own word counts
    result = train_script("--dataset", own_images, "--devices", 4)
    assert result.returncode == 2
    assert result.stderr == "error: --devices 4: JAX has 3 here (CPU); ask for no more.\n"
    assert not Path("runs").exists()


def test_a_platform_that_is_not_there_is_one_sentence(
    train_script: Script, own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "none_such")
    result = train_script("--dataset", own_images)
    assert result.returncode == 2
    assert re.fullmatch(
        r"error: JAX finds no device.*; set JAX_PLATFORMS to what is here, cpu for one\.\n", result.stderr
    )
    assert not Path("runs").exists()


def test_a_run_compiles_nothing_twice_and_honours_the_compilation_cache(
    train_script: Script, own_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_LOG_COMPILES", "1")
    arguments = ("--dataset", own_images, "--epochs", 1)
    result = train_script(*arguments)
    assert result.returncode == 0, result.stderr
    programs = re.findall(r"Compiling (jit\(.*)", result.stderr)
    assert len([program for program in programs if program.startswith("jit(run_steps)")]) == 1
    assert len(programs) == len(set(programs))

    entries = {path.name for path in (tmp_path / "cache").glob("jit_*-cache")}
    assert any(name.startswith("jit_train_steps") for name in entries)
    assert train_script(*arguments).returncode == 0
    assert {path.name for path in (tmp_path / "cache").glob("jit_*-cache")} == entries
    assert_same_outcome(Path("runs/conv"), Path("runs/conv-2"))


@pytest.mark.parametrize("arch", ["conv", "linear"])
def test_a_recipe_gives_the_defaults_and_what_is_given_goes_before_them(arch: str) -> None:
    recipes = {"tutorial": TrainConfig, "fast": fast}
    assert parse(recipes, "", ["--arch", arch]).config == TrainConfig(arch=arch)
    assert parse(recipes, "", ["--arch", arch, "--recipe", "fast"]).config == fast(arch) != TrainConfig(arch=arch)
    asked = parse(recipes, "", ["--arch", arch, "--recipe", "fast", "--epochs", "7", "--seed", "3"])
    assert asked.config == dataclasses.replace(fast(arch), epochs=7, seed=3)
    assert parse(recipes, "", ["--arch", arch]).given == {"arch": arch}  # what a continued run has to agree with
    assert asked.given | {"epochs": 7, "seed": 3, "schedule": "cosine", "beta2": 0.95} == asked.given


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize(("arch", "bar"), [("linear", 0.0335), ("conv", 0.0028)])
def test_on_mnist_the_fast_recipe_is_as_good_as_promised(
    arch: str, bar: float, train_script: Script, mnist_files: Path
) -> None:
    result = train_script("--arch", arch, "--recipe", "fast", "--manual-dir", mnist_files)
    assert result.returncode == 0, result.stderr
    assert json.loads(Path("runs", arch, "metrics.jsonl").read_text().splitlines()[-1])["test_loss"] <= bar


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize(("arch", "epochs", "bar"), [("linear", 4, 0.0370), ("conv", 1, 0.0060)])
def test_on_mnist_the_default_run_is_as_good_as_promised(
    arch: str, epochs: int, bar: float, train_script: Script, mnist_files: Path
) -> None:
    result = train_script("--arch", arch, "--epochs", epochs, "--manual-dir", mnist_files)
    assert result.returncode == 0, result.stderr
    last = json.loads(Path("runs", arch, "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 938 * epochs
    assert last["test_loss"] <= bar
