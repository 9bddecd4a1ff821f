import sys
from collections.abc import Callable
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import ae_jax
from ae_jax.exchange.torch import convert, read_state_dict, to_torch
from ae_jax.runs.train import resume
from ae_jax.training.checkpoint import latest_checkpoint
from tests.support.models import UNUSUAL
from tests.support.rounding import assert_equal_but_for_rounding

ARCHS = ["conv", "linear", "conv-pool"]


def weights_file(run_dir: Path, folder: Path) -> Path:
    to_torch(str(run_dir), str(folder / "model.safetensors"))
    return folder / "model.safetensors"


MODELS = [*({"arch": arch} for arch in ARCHS), {"arch": "linear", "latent_dim": 7}, *UNUSUAL.values()]


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_pytorch_round_trip_preserves_the_model_bit_for_bit(
    settings: dict[str, str], untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    run_dir = untrained_run(**settings)
    convert("to-torch", str(run_dir), str(tmp_path / "model.safetensors"))
    names = {name: settings[name] for name in ("output", "activation") if name in settings}
    convert("from-torch", str(tmp_path / "model.safetensors"), str(tmp_path / "back"), **names)
    before, after = ae_jax.load_model(run_dir), ae_jax.load_model(tmp_path / "back")
    assert before.model == after.model
    assert after.step == 0
    jax.tree.map(np.testing.assert_array_equal, before.params, after.params)


@pytest.mark.parametrize("arch", ARCHS)
def test_pytorch_loads_converted_weights_and_reproduces_the_reconstructions(
    arch: str, untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.torch_tutorial import Autoencoder

    trained = ae_jax.load_model(untrained_run(arch))
    module = Autoencoder(arch)
    state_dict = load_file(weights_file(untrained_run(arch), tmp_path))
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state_dict.items()}, strict=True)
    images = np.array(ae_jax.to_float(np.asarray(ae_jax.draw_glyphs(jax.random.key(7), 1000)[0])))
    inputs = torch.from_numpy(images)
    with torch.no_grad():
        expected = module(inputs.flatten(1) if arch == "linear" else inputs.movedim(-1, 1)).reshape(images.shape)
    assert_equal_but_for_rounding(trained.reconstruct(images), expected.numpy())

    for name in ("model.pt", "model.pth"):
        torch.save(module.state_dict(), tmp_path / name)
        convert("from-torch", str(tmp_path / name), str(tmp_path / f"run-{name}"))
        again = ae_jax.load_model(tmp_path / f"run-{name}")
        jax.tree.map(np.testing.assert_array_equal, again.params, trained.params)


def test_pt_files_that_hold_no_state_dict_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pt"
    torch.save({"a": torch.arange(3).bfloat16()}, path)
    assert read_state_dict(path)["a"].tolist() == [0, 1, 2]
    refused = {
        "is corrupt or holds more than weights": torch.nn.Linear(2, 2),
        "is not a mapping from names to tensors": {"epoch": 3},
        "is int64; give weights that are floats": {"a": torch.arange(3)},
        "cannot be read": {"a": torch.ones(3).to_sparse()},
    }
    for message, content in refused.items():
        torch.save(content, path)
        with pytest.raises(ae_jax.InputError, match=message):
            read_state_dict(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ae_jax.InputError, match=r"cannot be read: .*model\.state_dict\(\)"):
        read_state_dict(path)


def test_pt_file_without_pytorch_installed_raises_an_actionable_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    (tmp_path / "model.pt").touch()
    with pytest.raises(ae_jax.InputError, match="needs PyTorch: pip install torch, or save with"):
        convert("from-torch", str(tmp_path / "model.pt"), str(tmp_path / "run"))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_floats_of_any_size_are_read_as_float32(dtype: type, tmp_path: Path) -> None:
    save_file({"a": np.arange(3).astype(dtype)}, tmp_path / "a.safetensors")
    array = read_state_dict(tmp_path / "a.safetensors")["a"]
    assert (array.dtype, array.tolist()) == (np.float32, [0, 1, 2])


def test_run_imported_from_pytorch_can_be_resumed(
    untrained_run: Callable[..., Path], labelled_images: Path, tmp_path: Path
) -> None:
    source = weights_file(untrained_run("linear", output="tanh"), tmp_path)
    run_dir = tmp_path / "run"
    convert("from-torch", str(source), str(run_dir), output="tanh")
    before = ae_jax.load_model(run_dir)
    assert before.model.output == "tanh"
    resume(run_dir, dataset=str(labelled_images), epochs=1, learning_rate=1e-30, batch_size=30)
    trained = ae_jax.load_model(run_dir)
    assert (trained.step, trained.metadata["dataset_used"]) == (9, str(labelled_images))
    for after, given in zip(jax.tree.leaves(trained.params), jax.tree.leaves(before.params), strict=True):
        np.testing.assert_allclose(after, given, atol=1e-25)  # started from these weights, at a negligible rate
    with pytest.raises(ae_jax.InputError, match=r"learning.rate.* 0\.1 contradicts"):
        resume(run_dir, learning_rate=0.1)  # now that it has been trained


def test_import_error_lists_wrong_names_shapes_and_non_finite_weights(
    untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    arrays = load_file(weights_file(untrained_run("conv"), tmp_path))
    good = dict(arrays)
    del arrays["encoder.0.bias"]
    arrays["decoder.9.weight"] = np.zeros(3, np.float32)
    arrays["decoder.2.weight"] = np.zeros((32, 16, 5, 5), np.float32)
    wide = ae_jax.LinearAutoencoder(latent_dim=785)
    wide_params = ae_jax.create_train_state(wide, jax.random.key(0)).params
    cases = {
        "wrong": (arrays, r"nearest is conv: .*missing encoder\.0\.bias \(16,\)"),
        "unexpected": (arrays, r"unexpected decoder\.9\.weight \(3,\)"),
        "shape": (arrays, r"decoder\.2\.weight has shape \(32, 16, 5, 5\), not \(32, 16, 3, 3\)"),
        "unknown": (
            {"fc.weight": np.zeros(2, np.float32)},
            r"fits none of the models; the nearest is .*missing .*; and \d+ more differences",
        ),
        "not finite": ({**good, "encoder.0.bias": np.full(16, np.nan, np.float32)}, r"encoder\.0\.bias .* not finite"),
        "wide": (
            ae_jax.params_to_torch(wide, wide_params),
            r"wide\.safetensors cannot be converted: latent_dim must be at most 784, not 785; give the weights of a ",
        ),
        "integers": ({**good, "encoder.0.bias": np.arange(16)}, r"encoder\.0\.bias .* is int64; give weights that are"),
    }
    for name, (tensors, message) in cases.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(ae_jax.InputError, match=message) as error:
            convert("from-torch", str(tmp_path / f"{name}.safetensors"), str(tmp_path / "run"))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_prefixes_are_left_out_and_a_long_list_of_differences_is_cut(
    untrained_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = load_file(weights_file(untrained_run("linear"), tmp_path))
    for prefix in ("module.", "_orig_mod.module.", "model.autoencoder."):
        save_file({f"{prefix}{name}": array for name, array in arrays.items()}, tmp_path / "prefixed.safetensors")
        convert("from-torch", str(tmp_path / "prefixed.safetensors"), str(tmp_path / prefix))
        printed = capsys.readouterr().out
        assert f"All names begin with '{prefix}', which is left out." in printed
        assert "relu after hidden layers (--activation), sigmoid at the end (--output)" in printed
        jax.tree.map(
            np.testing.assert_array_equal,
            ae_jax.load_model(tmp_path / prefix).params,
            ae_jax.load_model(untrained_run("linear")).params,
        )
    save_file({f"layer{i}": np.zeros(2, np.float32) for i in range(9)}, tmp_path / "other.safetensors")
    with pytest.raises(ae_jax.InputError, match=r"the nearest is .*; and \d+ more differences\.$"):
        convert("from-torch", str(tmp_path / "other.safetensors"), str(tmp_path / "run"))


def test_files_without_weights_raise_clear_errors(untrained_run: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "text.bin").touch()
    checkpoint = latest_checkpoint(untrained_run("conv"))
    cases = {
        "none.safetensors": "cannot be read: No such file or directory",
        "text.safetensors": r"cannot be read: .*model\.state_dict\(\)",
        "empty.safetensors": r"cannot be read: .*model\.state_dict\(\)",
        "text.bin": r"must end in \.safetensors, \.pt or \.pth",
        checkpoint: "is already a checkpoint of ae_jax",
    }
    for name, message in cases.items():
        with pytest.raises(ae_jax.InputError, match=message):
            convert("from-torch", str(tmp_path / name), str(tmp_path / "run"))


def test_existing_targets_and_wrong_suffixes_are_refused(untrained_run: Callable[..., Path], tmp_path: Path) -> None:
    path = weights_file(untrained_run("linear"), tmp_path)
    before = path.read_bytes()
    for direction, target in (("to-torch", path), ("from-torch", tmp_path)):
        with pytest.raises(ae_jax.InputError, match="already exists, and nothing is overwritten"):
            convert(direction, "pretrained:linear", str(target))
    assert path.read_bytes() == before
    with pytest.raises(ae_jax.InputError, match=r"must end in \.safetensors"):
        convert("to-torch", "pretrained:linear", str(tmp_path / "model.pt"))
