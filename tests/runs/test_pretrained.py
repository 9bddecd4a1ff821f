import json
import shlex
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import ae_jax
from ae_jax.cli import parse_training
from ae_jax.config import TrainConfig
from ae_jax.exchange.config import ConvertConfig
from ae_jax.exchange.convert import convert
from ae_jax.inspection.config import EvaluateConfig, ReconstructConfig
from ae_jax.inspection.evaluate import evaluate_run
from ae_jax.inspection.reconstruct import reconstruct_images
from ae_jax.models import pretrained
from ae_jax.runs.metadata import FOLDERS
from ae_jax.runs.weights_file import read_weights, weights_bytes
from tests.support.outcomes import largest_difference

MAX_MSE = {"linear": 0.0282, "conv": 0.0015, "conv-pool": 0.0011}


@pytest.mark.parametrize("name", MAX_MSE)
@pytest.mark.optimised
def test_error_on_mnist_is_the_recorded_one(name: str, mnist_files: Path, data_dir: Path) -> None:
    trained = ae_jax.load_pretrained(name)
    test_set = trained.open_splits(None, data_dir=data_dir, manual_dir=mnist_files)[1].load()  # checks the digest
    errors = np.square(trained.reconstruct(test_set.images) - test_set.images / np.float32(255))
    mse = errors.mean(dtype=np.float64)
    assert mse <= MAX_MSE[name]
    assert mse == pytest.approx(trained.metadata["test_mse"], rel=1e-4)


@pytest.mark.parametrize("name", pretrained.NAMES)
def test_metadata_say_how_it_was_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = ae_jax.load_pretrained(name)
    program, command, *flags = shlex.split(trained.metadata["command"])
    assert (program, command) == ("ae-jax", "train")
    monkeypatch.setattr("sys.argv", ["train", *flags])
    assert parse_training({"tutorial": TrainConfig}, "").config.arch == trained.config.arch == name
    given = parse_training({"tutorial": TrainConfig}, "").given
    assert {key: getattr(trained.config, key) for key in given} == given
    assert given["seed"] == 0
    assert {"jax", "jaxlib", "flax", "optax", "numpy", "python"} <= trained.metadata["versions"].keys()
    assert len(trained.metadata["dataset_sha256"]) == 64
    assert [trained.metadata["config"][folder] for folder in FOLDERS] == [None] * len(FOLDERS)
    assert trained.step == trained.config.epochs * -(-60_000 // trained.config.batch_size)


def test_all_files_are_small_and_hold_the_names_of_pytorch() -> None:
    paths = [pretrained.weights_path(name) for name in pretrained.NAMES]
    assert sum(path.stat().st_size for path in paths) <= 3 * 2**20
    for path in paths:
        trained, arrays = ae_jax.load_pretrained(path.stem), load_file(path)
        expected = ae_jax.params_to_torch(trained.model, trained.params)
        assert arrays.keys() == expected.keys()
        assert all(np.array_equal(arrays[name], expected[name]) for name in arrays)


def test_methods_take_bytes_or_numbers_and_any_number_of_images(digits: np.ndarray) -> None:
    trained = ae_jax.load_pretrained("conv-pool")
    recons = trained.reconstruct(digits)
    assert recons.shape == (300, 28, 28, 1)
    np.testing.assert_allclose(trained.reconstruct(digits[:7].astype(np.float32) / 255), recons[:7], atol=1e-5)
    rounding = 0 if jax.default_backend() == "cpu" else 1e-5  # for each program XLA chooses a GPU's kernels anew
    assert largest_difference(trained.decode(trained.encode(digits)), recons) <= rounding
    assert largest_difference(trained.encode_latents(digits), trained.encode(digits).latents) <= rounding


def test_commands_take_its_name_and_write_below_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: np.ndarray, labelled_images: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("own.npy", digits)
    reconstruct_images(ReconstructConfig("pretrained:linear", "own.npy", codes="codes.npy"))
    np.testing.assert_array_equal(np.load("codes.npy"), ae_jax.load_pretrained("linear").encode(digits))
    convert(ConvertConfig("to-torch", "pretrained:linear", "linear.safetensors"))
    weights = load_file(pretrained.weights_path("linear"))
    assert all(np.array_equal(array, weights[name]) for name, array in load_file("linear.safetensors").items())
    evaluate_run(EvaluateConfig("pretrained:linear", json="metrics.json", dataset=str(labelled_images)))
    assert json.loads(Path("metrics.json").read_text())["checkpoint"] == "pretrained:linear"
    assert len(list(Path("runs/pretrained-linear/figures").glob("evaluation_step_*.png"))) == 1


@pytest.mark.parametrize("load", [ae_jax.load_pretrained, lambda name: ae_jax.load_model(f"pretrained:{name}")])
def test_other_names_are_errors_that_list_them(load: Callable[[str], ae_jax.TrainedModel]) -> None:
    for name in ("", "vae", "../conv", "conv.safetensors"):
        with pytest.raises(ae_jax.InputError, match="choose linear, conv, conv-pool"):
            load(name)


def test_weights_files_are_verified(tmp_path: Path) -> None:
    good = read_weights(pretrained.weights_path("linear"))
    arrays = dict(good.state_dict)
    bias = arrays["encoder.0.bias"]
    wrong = {
        "name": (good._replace(state_dict={**arrays, "other": bias}), "does not hold the parameters"),
        "shape": (good._replace(state_dict={**arrays, "encoder.0.bias": bias[1:]}), "does not hold the parameters"),
        "dtype": (good._replace(state_dict={**arrays, "encoder.0.bias": bias.astype(np.float64)}), "not float32"),
        "finite": (good._replace(state_dict={**arrays, "encoder.0.bias": bias * np.nan}), "not finite"),
        "step": (good._replace(step=-1), "no weights file of this version"),
        "metadata": (good._replace(metadata=None), "no mapping"),
    }
    for name, (weights, message) in wrong.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(weights_bytes(weights))
        with pytest.raises(ae_jax.InputError, match=message):
            ae_jax.load_model(path)
    content = bytearray(pretrained.weights_path("linear").read_bytes())
    content[-1] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(content)
    with pytest.raises(ae_jax.DamagedFileError, match=r"digest\. Give a run directory"):
        ae_jax.load_model(tmp_path / "flipped.safetensors")
    (tmp_path / "good.safetensors").write_bytes(weights_bytes(good))
    assert (tmp_path / "good.safetensors").read_bytes() == pretrained.weights_path("linear").read_bytes()
    equal = jax.tree.map(
        np.array_equal, ae_jax.load_model(tmp_path / "good.safetensors").params, ae_jax.load_pretrained("linear").params
    )
    assert jax.tree.all(equal)
