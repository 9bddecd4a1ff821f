"""Trained models: what `load_model` takes and refuses, the pretrained ones, and inference on any number of images."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import ae_jax
from ae_jax.cli import parse
from ae_jax.commands import COMMANDS
from ae_jax.config import TrainConfig
from ae_jax.exchange.torch import to_torch, weights_bytes
from ae_jax.models import pretrained
from ae_jax.runs.trained import PRETRAINED
from ae_jax.training.checkpoint import latest_checkpoint
from tests.support.commands import bad_input
from tests.support.outcomes import largest_difference

MAX_MSE = {"linear": 0.0282, "conv": 0.0015, "conv-pool": 0.0011}
FILES = {name: Path(pretrained.__path__[0], f"{name}.safetensors") for name in PRETRAINED}


@pytest.mark.parametrize("arch", ["conv", "linear", "conv-pool"])
def test_a_model_is_loaded_from_a_run_a_checkpoint_and_a_shared_folder(
    arch: str, trained_run: Callable[..., Path], labelled_images: Path, tmp_path: Path
) -> None:
    run_dir = trained_run(arch)
    to_torch(str(run_dir), str(tmp_path / "stray.safetensors"))
    test_loss = json.loads((run_dir / "metrics.jsonl").read_text())["test_loss"]
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "model.safetensors").write_bytes(weights_bytes(ae_jax.load_model(run_dir)))
    images = ae_jax.load_dataset(str(labelled_images), "test").images
    for path in (run_dir, latest_checkpoint(run_dir), shared):
        trained = ae_jax.load_model(path)
        assert (trained.config.arch, trained.step, trained.test_mse) == (arch, 5, test_loss)
        assert trained.run_dir == (shared if path == shared else run_dir)
        error = np.square(trained.reconstruct(images) - images / np.float32(255)).mean(dtype=np.float64)
        assert error == pytest.approx(test_loss, rel=1e-5)


def test_latent_dimension_and_output_activation_are_restored(untrained_run: Callable[..., Path]) -> None:
    trained = ae_jax.load_model(untrained_run("linear", 2, "tanh"))
    assert trained.model == ae_jax.LinearAutoencoder(latent_dim=2, output="tanh")


def bad_runs(folder: Path, run_dir: Path) -> dict[Path, str]:
    """Paths without a usable run, each with a part of the error that it must cause."""
    (folder / "empty").mkdir()
    (folder / "config").mkdir()
    (folder / "config" / "config.json").write_text("{}")
    np.save(folder / "array.npy", np.zeros(3))
    flipped = bytearray(latest_checkpoint(run_dir).read_bytes())
    flipped[-1] ^= 1
    (folder / "flipped.safetensors").write_bytes(flipped)
    (folder / "cut.safetensors").write_bytes(FILES["linear"].read_bytes()[:-1])
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    ae_jax.save_checkpoint(folder / "state.safetensors", state)
    to_torch(str(run_dir), str(folder / "torch.safetensors"))
    errors = {
        "none": "does not exist; give a run directory",
        "empty": "holds no checkpoint; give a run directory",
        "config": "holds no checkpoint; give a run directory",
        "array.npy": "cannot be read: ",
        "flipped.safetensors": "is corrupt: its content does not match its digest",
        "cut.safetensors": "cannot be read: ",
        "state.safetensors": "is a state without a run's settings",
        "torch.safetensors": "is corrupt or was not written by ae_jax",
    }
    return {folder / name: error for name, error in errors.items()}


@pytest.mark.parametrize(
    "command",
    [
        "evaluate {}",
        "visualize {}",
        "explore {}",
        "reconstruct {} none.npy --codes codes.npy",
        "export {} out",
        "share {} out",
        "convert to-torch {} out.safetensors",
    ],
)
@pytest.mark.usefixtures("environment")
def test_commands_refuse_what_is_no_run_in_one_line_and_write_nothing(
    command: str, trained_run: Callable[..., Path], tmp_path: Path
) -> None:
    expected = bad_runs(tmp_path, trained_run("linear"))
    before = sorted(tmp_path.rglob("*"))
    for path, message in expected.items():
        error = bad_input(*command.format(path).split())
        assert error.startswith(f"error: {path} {message}")
        assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", MAX_MSE)
@pytest.mark.optimised
def test_the_error_of_a_pretrained_model_on_mnist_is_the_recorded_one(
    name: str, mnist_files: Path, data_dir: Path
) -> None:
    trained = ae_jax.load_pretrained(name)
    _, test_set = trained.load_splits(data_dir=data_dir, manual_dir=mnist_files)  # checks the digest
    mse = np.square(trained.reconstruct(test_set.images) - test_set.images / np.float32(255)).mean(dtype=np.float64)
    assert mse <= MAX_MSE[name]
    assert mse == pytest.approx(trained.test_mse, rel=1e-4)


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_pretrained_model_says_how_it_was_made_and_holds_the_names_of_pytorch(name: str) -> None:
    trained = ae_jax.load_model(f"pretrained:{name}")
    program, *command = shlex.split(trained.metadata["command"])
    assert program == "ae-jax"
    asked = parse(command, COMMANDS).arguments["config"]
    settings = {key for key, value in vars(asked).items() if value != getattr(TrainConfig(), key)}
    assert {key: getattr(asked, key) for key in settings} == {key: getattr(trained.config, key) for key in settings}
    assert {"jax", "jaxlib", "flax", "optax", "numpy", "python"} <= trained.metadata["versions"].keys()
    assert len(trained.metadata["dataset_sha256"]) == 64
    assert trained.step == trained.config.epochs * -(-60_000 // trained.config.batch_size)
    arrays, expected = load_file(FILES[name]), ae_jax.params_to_torch(trained.model, trained.params)
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[key], expected[key]) for key in arrays)
    assert FILES[name].read_bytes() == weights_bytes(trained, command=trained.metadata["command"])
    assert sum(path.stat().st_size for path in FILES.values()) <= 3 * 2**20


def test_methods_take_bytes_or_numbers_and_any_number_of_images(digits: np.ndarray) -> None:
    trained = ae_jax.load_pretrained("conv-pool")
    recons = trained.reconstruct(digits)
    assert recons.shape == (300, 28, 28, 1)
    np.testing.assert_allclose(trained.reconstruct(digits[:7].astype(np.float32) / 255), recons[:7], atol=1e-5)
    rounding = 0 if jax.default_backend() == "cpu" else 1e-5  # for each program XLA chooses a GPU's kernels anew
    assert largest_difference(trained.decode(trained.encode(digits)), recons) <= rounding
    assert largest_difference(trained.encode_latents(digits), trained.encode(digits).latents) <= rounding


@pytest.mark.parametrize("name", ["", "vae", "../conv", "conv.safetensors"])
def test_another_name_of_a_pretrained_model_is_an_error_that_lists_them(name: str) -> None:
    for load, source in ((ae_jax.load_pretrained, name), (ae_jax.load_model, f"pretrained:{name}")):
        with pytest.raises(ae_jax.InputError, match="choose linear, conv, conv-pool"):
            load(source)


@pytest.mark.usefixtures("environment")
def test_a_model_is_used_with_the_images_of_its_training_unless_others_are_named(
    trained_run: Callable[..., Path], labelled_images: Path, own_images: Path, tmp_path: Path
) -> None:
    run_dir = shutil.copytree(trained_run("linear"), tmp_path / "run")
    trained = ae_jax.load_model(run_dir)
    assert [each.name for each in trained.load_splits()] == [str(labelled_images)] * 2
    assert [len(each.images) for each in trained.load_splits("own.npy")] == [270, 30]
    content = labelled_images.read_bytes()
    try:
        np.savez(labelled_images, images=np.zeros((300, 28, 28), np.uint8))
        with pytest.raises(ae_jax.InputError, match=r"does not hold the images that .* was trained with.*`dataset`"):
            trained.load_splits()
    finally:
        labelled_images.write_bytes(content)


@pytest.mark.usefixtures("unchecked")
def test_floats_outside_0_to_1_are_refused_and_no_images_are_any_number() -> None:
    trained = ae_jax.load_pretrained("conv-pool")
    for images in (np.full((2, 28, 28, 1), 255.0), np.full((2, 28, 28, 1), -1.0), np.full((2, 28, 28, 1), np.nan)):
        for use in (trained.encode, trained.encode_latents, trained.reconstruct):
            with pytest.raises(ValueError, match=r"floats must be in \[0, 1\], not from .* rescale the images"):
                use(images.astype(np.float32))
    for nothing in (np.zeros((0, 28, 28, 1), np.uint8), np.zeros((0, 28, 28, 1), np.float32)):
        assert trained.reconstruct(nothing).shape == (0, 28, 28, 1)
        assert trained.encode_latents(nothing).shape == (0, 64)
