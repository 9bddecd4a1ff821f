import dataclasses
import json
import platform
import re
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest
import yaml
from safetensors.numpy import load_file

import ae_jax
from ae_jax.errors import RunError
from ae_jax.exchange.share import share_run
from ae_jax.exchange.torch import weights_bytes
from ae_jax.inspection.evaluate import evaluate_model
from tests.support.models import UNUSUAL
from tests.support.rounding import assert_equal_but_for_rounding

FILES = {
    *("README.md", "config.json", "model.safetensors", "index.html"),
    *("encode.onnx", "decode.onnx", "reconstruct.onnx"),
    *("figures/reconstructions.png", "figures/evaluation.png"),
}


@pytest.fixture(scope="module")
def shared(trained_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and the folder made of it."""
    run_dir, folder = trained_run("linear"), tmp_path_factory.mktemp("share") / "shared"
    share_run(str(run_dir), str(folder), license="apache-2.0")
    return run_dir, folder


def test_the_folder_is_complete_and_load_model_reads_it_bit_for_bit(shared: tuple[Path, Path]) -> None:
    run_dir, folder = shared
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == FILES
    original, trained = ae_jax.load_model(run_dir), ae_jax.load_model(folder)
    assert jax.tree.all(jax.tree.map(np.array_equal, original.params, trained.params))
    assert (trained.model, trained.step, trained.test_mse) == (original.model, original.step, original.test_mse)
    assert trained.test_mse == json.loads((folder / "config.json").read_text())["test_mse"]


def test_a_model_with_other_hidden_layers_is_shared(
    untrained_run: Callable[..., Path], labelled_images: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    run_dir = untrained_run(**UNUSUAL["conv, wide"])
    share_run(str(run_dir), str(tmp_path / "shared"), dataset=str(labelled_images))
    original, trained = ae_jax.load_model(run_dir), ae_jax.load_model(tmp_path / "shared")
    assert trained.model == original.model == ae_jax.ConvAutoencoder(32, "tanh", hidden=(32, 64))
    np.testing.assert_array_equal(trained.reconstruct(digits), original.reconstruct(digits))


def test_a_full_disk_leaves_no_folder(
    shared: tuple[Path, Path], tmp_path: Path, limit_file_size: Callable[[int], None]
) -> None:
    limit_file_size(400_000)  # less than the page
    with pytest.raises(RunError, match=r"shared cannot be written: File too large"):
        share_run(str(shared[0]), str(tmp_path / "shared"))
    assert list(tmp_path.iterdir()) == []


def test_the_card_tells_the_training_data_from_the_evaluation_data(
    trained_run: Callable[..., Path], labelled_images: Path, own_images: Path, tmp_path: Path
) -> None:
    share_run(str(trained_run("linear")), str(tmp_path / "shared"), dataset=str(own_images))
    card = (tmp_path / "shared" / "README.md").read_text()
    assert re.search(rf"It was trained on {labelled_images.name} for [\d,]+ optimizer steps in \d+ s on \w+", card)
    assert ae_jax.load_model(trained_run("linear")).metadata["dataset_sha256"] in card
    assert "datasets:" not in card.split("---")[1]


def test_nothing_names_the_machine(shared: tuple[Path, Path]) -> None:
    run_dir, folder = shared
    named = [str(run_dir.parent), str(Path.home()), platform.node(), str(folder.parent)]
    for path in folder.rglob("*"):
        if path.is_file():
            assert [name for name in named if len(name) > 5 and name.encode() in path.read_bytes()] == []


def test_the_card_states_licence_library_and_the_metrics_of_evaluate(shared: tuple[Path, Path]) -> None:
    run_dir, folder = shared
    _, front_matter, text = (folder / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front_matter)
    assert (card["license"], card["library_name"]) == ("apache-2.0", "ae_jax")
    means = evaluate_model(ae_jax.load_model(run_dir)).model.means()
    metrics = {each["type"]: each["value"] for each in card["model-index"][0]["results"][0]["metrics"]}
    assert metrics == {name: round(means[name], 5) for name in ("mse", "psnr", "ssim")}
    assert f"| MSE                      | {means['mse']:.5f} |".replace(" ", "") in text.replace(" ", "")
    for name in ("reconstructions", "evaluation"):
        assert f"](figures/{name}.png)" in text


def test_onnx_runtime_and_safetensors_open_their_parts(shared: tuple[Path, Path], digits: np.ndarray) -> None:
    run_dir, folder = shared
    trained = ae_jax.load_model(run_dir)
    session = onnxruntime.InferenceSession(folder / "reconstruct.onnx")
    recons = session.run(None, {"images": digits.astype(np.float32) / 255})[0]
    assert_equal_but_for_rounding(recons, trained.reconstruct(digits))
    expected = ae_jax.params_to_torch(trained.model, trained.params)
    arrays = load_file(folder / "model.safetensors")
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], expected[name]) for name in arrays)


def test_an_existing_folder_is_refused_and_markup_in_names_is_escaped(
    shared: tuple[Path, Path], tmp_path: Path, labelled_images: Path
) -> None:
    run_dir, folder = shared
    with pytest.raises(ae_jax.InputError, match="already exists, and nothing is overwritten"):
        share_run(str(run_dir), str(folder))
    own = tmp_path / '<b>|x`: "é".npz'
    own.write_bytes(labelled_images.read_bytes())
    share_run(str(run_dir), str(tmp_path / "out"), dataset=str(own))
    _, front_matter, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front_matter)["model-index"][0]["results"][0]["dataset"]["name"] == own.name
    assert r"\<b\>\|x\`" in text
    assert "<b>" not in text


def test_metadata_of_a_stranger_that_are_no_text_or_no_number_are_replaced(own_images: Path, tmp_path: Path) -> None:
    trained = ae_jax.load_pretrained("linear")
    metadata = {**trained.metadata, "dataset_used": "\ud800.npy", "latent_dim": "wrong", "nan": float("nan")}
    (tmp_path / "model.safetensors").write_bytes(weights_bytes(dataclasses.replace(trained, metadata=metadata)))
    loaded = ae_jax.load_model(tmp_path)
    assert (loaded.metadata["dataset_used"], loaded.metadata["nan"]) == ("?.npy", None)
    share_run(str(tmp_path), str(tmp_path / "shared"), dataset=str(own_images))
    config = json.loads((tmp_path / "shared" / "config.json").read_text())
    assert config["latent_dim"] == 3
