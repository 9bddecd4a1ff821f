import json
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

import ae_jax
from ae_jax.exchange.onnx import export_run
from tests.support.models import UNUSUAL
from tests.support.rounding import assert_equal_but_for_rounding

NAMES = ("encode", "decode", "reconstruct")


def run(session: onnxruntime.InferenceSession, *arrays: np.ndarray) -> list[np.ndarray]:
    return session.run(None, {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)})


def checked_session(path: Path) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # others would wait by spinning
    return onnxruntime.InferenceSession(path, options)


@pytest.mark.parametrize("name", ["linear", "conv", "conv-pool", *UNUSUAL])
def test_onnx_runtime_computes_what_the_model_does_for_any_number_of_images(
    name: str, untrained_run: Callable[..., Path], digits: np.ndarray, tmp_path: Path
) -> None:
    source = str(untrained_run(**UNUSUAL[name])) if name in UNUSUAL else f"pretrained:{name}"
    export_run(source, str(tmp_path / "out"))
    encode, decode, reconstruct = (checked_session(tmp_path / "out" / f"{each}.onnx") for each in NAMES)
    trained = ae_jax.load_model(source)
    for images in (digits[:1], digits[:7], digits):
        floats, recons = images.astype(np.float32) / 255, trained.reconstruct(images)
        code = run(encode, floats)
        for array, expected in zip(code, jax.tree.leaves(trained.encode(images)), strict=True):
            assert_equal_but_for_rounding(array, expected)
        assert_equal_but_for_rounding(run(decode, *code)[0], recons)
        assert_equal_but_for_rounding(run(reconstruct, floats)[0], recons)


def test_files_hold_the_run_but_nothing_of_the_machine(
    trained_run: Callable[..., Path], labelled_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = trained_run("linear")
    capsys.readouterr()
    export_run(str(run_dir), str(tmp_path / "out"))
    assert capsys.readouterr().out.splitlines()[0] == (
        f"{tmp_path}/out/encode.onnx: images float32[n, 28, 28, 1] → latents float32[n, 3]"
    )
    test_mse = json.loads((run_dir / "metrics.jsonl").read_text())["test_loss"]
    for name in NAMES:
        content = (tmp_path / "out" / f"{name}.onnx").read_bytes()
        assert str(labelled_images.parent).encode() not in content
        assert str(run_dir).encode() not in content
        properties = {each.key: each.value for each in onnx.load_from_string(content).metadata_props}
        assert properties["dataset"] == labelled_images.name
        assert float(properties["test_mse"]) == test_mse
        assert json.loads(properties["settings"])["arch"] == "linear"
        assert json.loads(properties["versions"])["jax"] == jax.__version__


def test_existing_folder_and_missing_onnx_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ae_jax.InputError, match="already exists, and nothing is overwritten"):
        export_run("pretrained:linear", str(tmp_path))
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    with pytest.raises(ae_jax.InputError, match="onnx is not installed: pip install onnx"):
        export_run("pretrained:linear", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
