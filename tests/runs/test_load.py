import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.exchange.config import ConvertConfig, ExportConfig
from ae_jax.exchange.convert import convert
from ae_jax.exchange.export import export_run
from ae_jax.inspection.config import EvaluateConfig, ReconstructConfig, VisualizeConfig
from ae_jax.inspection.evaluate import evaluate_run
from ae_jax.inspection.reconstruct import reconstruct_images
from ae_jax.inspection.visualize import visualize_run

COMMANDS = {
    "evaluate": lambda run, out: evaluate_run(EvaluateConfig(run)),
    "visualize": lambda run, out: visualize_run(VisualizeConfig(run)),
    "reconstruct": lambda run, out: reconstruct_images(ReconstructConfig(run, "none.npy", codes=f"{out}/codes.npy")),
    "to-torch": lambda run, out: convert(ConvertConfig("to-torch", run, f"{out}/model.safetensors")),
    "export": lambda run, out: export_run(ExportConfig(run, f"{out}/exported")),
}


@pytest.mark.parametrize("arch", ["conv", "linear", "conv-pool"])
def test_load_model_from_run_or_checkpoint_reproduces_the_test_loss(
    arch: str, trained_run: Callable[..., Path], labelled_images: Path
) -> None:
    run_dir = trained_run(arch)
    test_images = ae_jax.load_dataset(str(labelled_images), "test").images
    test_loss = json.loads((run_dir / "metrics.jsonl").read_text())["test_loss"]
    for path in (run_dir, ae_jax.latest_checkpoint(run_dir)):
        trained = ae_jax.load_model(path)
        assert (trained.config.arch, trained.step, trained.run_dir) == (arch, 5, run_dir)
        state = ae_jax.create_train_state(trained.model, jax.random.key(0), params=trained.params)
        assert float(ae_jax.evaluate(state, test_images)["loss"]) == pytest.approx(test_loss, rel=1e-5)


def test_another_file_in_a_run_directory_is_not_taken_for_its_checkpoint(trained_run: Callable[..., Path]) -> None:
    run_dir = trained_run("linear")
    stray = run_dir / "model.safetensors"
    convert(ConvertConfig("to-torch", str(run_dir), str(stray)))
    try:
        assert ae_jax.load_model(run_dir).checkpoint == ae_jax.latest_checkpoint(run_dir)
    finally:
        stray.unlink()


def test_load_model_restores_latent_dimension_and_output_activation(trained_run: Callable[..., Path]) -> None:
    trained = ae_jax.load_model(trained_run("linear", latent_dim=2, output="tanh"))
    assert trained.model == ae_jax.LinearAutoencoder(latent_dim=2, output="tanh")


def bad_runs(folder: Path, run_dir: Path) -> dict[str, tuple[Path, str]]:
    """Create paths without a usable run, each with the error message that it must cause."""
    (folder / "empty").mkdir()
    (folder / "empty-config").mkdir()
    (folder / "empty-config" / "config.json").write_text("{}")
    (folder / "file.safetensors").write_bytes(b"no tensors")
    np.save(folder / "array.npy", np.zeros(3))
    shutil.copytree(run_dir, folder / "corrupt-run")
    checkpoint = ae_jax.latest_checkpoint(folder / "corrupt-run")
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    shutil.copy(checkpoint, folder / "flipped.safetensors")
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    ae_jax.save_checkpoint(folder / "state.safetensors", state)
    messages = {
        "none": "does not exist; give a run directory",
        "empty": "holds no checkpoint; give a run directory",
        "empty-config": "holds no checkpoint; give a run directory",
        "file.safetensors": "is corrupt: .* Give a run directory",
        "array.npy": "is corrupt: .* Give a run directory",
        "corrupt-run": "no checkpoint in .* is valid",
        "flipped.safetensors": "is corrupt: its content does not match its digest. Give a run directory",
        "state.safetensors": "is a state without its run's settings",
    }
    return {name: (folder / name, message) for name, message in messages.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_paths_without_a_valid_run_raise_one_line_errors_and_write_nothing(
    command: str, trained_run: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    for path, message in bad_runs(tmp_path, trained_run("linear")).values():
        with pytest.raises(ae_jax.InputError, match=message) as error:
            COMMANDS[command](str(path), tmp_path / "out")
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
    assert not list((tmp_path / "out").iterdir())


def test_load_model_uses_the_newest_valid_checkpoint(trained_run: Callable[..., Path], tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(trained_run("linear", checkpoint_every="2steps"), run_dir)
    newest = ae_jax.latest_checkpoint(run_dir)
    newest.write_bytes(newest.read_bytes()[:-1])
    assert ae_jax.load_model(run_dir).step == 4
