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
def test_a_run_and_its_checkpoint_give_the_model_that_was_trained(
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


def test_a_models_own_settings_are_kept(trained_run: Callable[..., Path]) -> None:
    trained = ae_jax.load_model(trained_run("linear", latent_dim=2, output="tanh"))
    assert trained.model == ae_jax.LinearAutoencoder(latent_dim=2, output="tanh")


def bad_runs(folder: Path, run_dir: Path) -> dict[str, tuple[Path, str]]:
    """Paths that hold no usable run, and what is said of each."""
    (folder / "empty").mkdir()
    (folder / "foreign").mkdir()
    (folder / "foreign" / "config.json").write_text("{}")
    (folder / "file.safetensors").write_bytes(b"no tensors")
    np.save(folder / "array.npy", np.zeros(3))
    shutil.copytree(run_dir, folder / "damaged")
    checkpoint = ae_jax.latest_checkpoint(folder / "damaged")
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    shutil.copy(checkpoint, folder / "flipped.safetensors")
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    ae_jax.save_checkpoint(folder / "state.safetensors", state)
    messages = {
        "none": "does not exist; give a run directory",
        "empty": "holds no checkpoint; give a run directory",
        "foreign": "holds no checkpoint; give a run directory",
        "file.safetensors": "is corrupt: .* Give a run directory",
        "array.npy": "is corrupt: .* Give a run directory",
        "damaged": "no checkpoint in .* is valid",
        "flipped.safetensors": "is corrupt: its content does not match its digest. Give a run directory",
        "state.safetensors": "is a state without its run's settings",
    }
    return {name: (folder / name, message) for name, message in messages.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_run_is_one_sentence_and_leaves_nothing_behind(
    command: str, trained_run: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    for path, message in bad_runs(tmp_path, trained_run("linear")).values():
        with pytest.raises(ae_jax.InputError, match=message) as error:
            COMMANDS[command](str(path), tmp_path / "out")
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
    assert not list((tmp_path / "out").iterdir())


def test_of_several_checkpoints_the_newest_sound_one_counts(trained_run: Callable[..., Path], tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(trained_run("linear", checkpoint_every="2steps"), run_dir)
    newest = ae_jax.latest_checkpoint(run_dir)
    newest.write_bytes(newest.read_bytes()[:-1])
    assert ae_jax.load_model(run_dir).step == 4
