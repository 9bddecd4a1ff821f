import io
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export
from safetensors.numpy import load_file, save_file

import ae_jax
from ae_jax.exchange.config import ConvertConfig, ExportConfig
from ae_jax.exchange.convert import convert
from ae_jax.exchange.export import export_run
from ae_jax.exchange.torch_files import read_state_dict
from ae_jax.runs.train import resume
from tests.conftest import ROOT
from tests.support.hostile_headers import hostile_headers

ARCHS = ["conv", "linear", "conv-pool"]


def to_torch(run_dir: Path, folder: Path) -> Path:
    convert(ConvertConfig("to-torch", str(run_dir), str(folder / "model.safetensors")))
    return folder / "model.safetensors"


@pytest.mark.parametrize(("arch", "latent_dim"), [*((arch, None) for arch in ARCHS), ("linear", 7)])
def test_pytorch_round_trip_preserves_the_model_bit_for_bit(
    arch: str, latent_dim: int | None, untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    run_dir = untrained_run(arch, latent_dim)
    convert(ConvertConfig("from-torch", str(to_torch(run_dir, tmp_path)), str(tmp_path / "back")))
    before, after = ae_jax.load_model(run_dir), ae_jax.load_model(tmp_path / "back")
    assert before.model == after.model
    assert after.step == 0
    jax.tree.map(np.testing.assert_array_equal, before.params, after.params)


@pytest.mark.parametrize("arch", ARCHS)
def test_pytorch_loads_converted_weights_and_reproduces_the_reconstructions(
    arch: str, untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_tensors

    from benchmarks.torch_tutorial import Autoencoder

    run_dir = untrained_run(arch)
    module = Autoencoder(arch)
    module.load_state_dict(load_tensors(to_torch(run_dir, tmp_path)), strict=True)
    images = np.asarray(ae_jax.normalise(np.asarray(ae_jax.draw_glyphs(jax.random.key(7), 1000)[0])))
    inputs = torch.from_numpy(images.copy())
    with torch.no_grad():
        expected = module(inputs.flatten(1) if arch == "linear" else inputs.movedim(-1, 1)).reshape(images.shape)
    trained = ae_jax.load_model(run_dir)
    recons = jax.jit(trained.model.apply)({"params": trained.params}, images)
    np.testing.assert_allclose(recons, expected, atol=1e-5)

    for name in ("model.pt", "model.pth"):
        torch.save(module.state_dict(), tmp_path / name)
        convert(ConvertConfig("from-torch", str(tmp_path / name), str(tmp_path / f"run-{name}")))
        again = ae_jax.load_model(tmp_path / f"run-{name}")
        jax.tree.map(np.testing.assert_array_equal, again.params, trained.params)
    torch.save(module, tmp_path / "whole.pt")
    with pytest.raises(ae_jax.InputError, match=r"is corrupt or holds more than weights; save model\.state_dict\(\)"):
        convert(ConvertConfig("from-torch", str(tmp_path / "whole.pt"), str(tmp_path / "whole")))
    assert not (tmp_path / "whole").exists()


STATE_DICT = (  # {"a": zeros(3)} as torch.save writes it
    b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02"
    b"((X\x07\x00\x00\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x03tq\x07Q"
    b"K\x00K\x03\x85q\x08K\x01\x85q\x09\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0ds."
)
TWICE = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(40))  # tuples, each of the one before twice
HOSTILE_PICKLES = {  # what torch.save does not write; everything else in them may be in a state dict
    "GLOBAL": b"\x80\x02cos\nsystem\n.",
    "STACK_GLOBAL": b"\x80\x04X\x0b\x00\x00\x00collectionsX\x0b\x00\x00\x00OrderedDict\x93.",
    "INST": b"\x80\x02(icollections\nOrderedDict\n.",
    "OBJ": b"\x80\x02(ccollections\nOrderedDict\no.",
    "NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04ccollections\nOrderedDict\n)}\x92.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "BYTEARRAY8": b"\x80\x05\x96" + bytes(8) + b".",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "a key that is hashed in 2^40 steps": b"\x80\x02}()q\x00" + TWICE + b"tK\x01s.",
    "a key that is hashed with a stack of 1,000,000": b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",
}


def archive_of(pickle: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A `.pt` file with this pickle and the storage of `STATE_DICT`."""
    members = {"data.pkl": pickle, "byteorder": b"little", "data/0": bytes(12), "version": b"3\n"}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def with_members_listed_often(content: bytes, times: int) -> bytes:
    """The archive with its directory repeated, so that members overlap."""
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    directory = content[start:end] * times
    count = content[end + 10] * times
    return (
        content[:start]
        + directory
        + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    )


HOSTILE_ARCHIVES = {
    **{name: archive_of(pickle) for name, pickle in HOSTILE_PICKLES.items()},
    "compressed": archive_of(STATE_DICT, zipfile.ZIP_DEFLATED),
    "overlapping": with_members_listed_often(archive_of(STATE_DICT + bytes(1000)), times=100),
    "wrong checksum": archive_of(STATE_DICT).replace(bytes(12), b"\x01" + bytes(11), 1),  # which PyTorch ignores
}


def test_valid_pt_file_without_pytorch_installed_raises_an_actionable_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    (tmp_path / "model.pt").write_bytes(archive_of(STATE_DICT))
    with pytest.raises(ae_jax.InputError, match="needs PyTorch: pip install torch, or save with"):
        convert(ConvertConfig("from-torch", str(tmp_path / "model.pt"), str(tmp_path / "run")))


@pytest.mark.parametrize("name", HOSTILE_ARCHIVES)
def test_what_torch_save_does_not_write_never_reaches_pytorch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # what is not refused before needs PyTorch
    (tmp_path / "model.pt").write_bytes(HOSTILE_ARCHIVES[name])
    with pytest.raises(ae_jax.InputError, match="is corrupt or holds more than weights"):
        read_state_dict(tmp_path / "model.pt")


def test_state_dicts_are_read_as_floats_and_integers_are_refused(tmp_path: Path) -> None:
    save_file({"a": np.arange(3, dtype=np.float16)}, tmp_path / "half.safetensors")
    assert read_state_dict(tmp_path / "half.safetensors")["a"].tolist() == [0, 1, 2]
    save_file({"a": np.arange(3)}, tmp_path / "integers.safetensors")
    with pytest.raises(ae_jax.InputError, match=r"a in .* is int64; give weights that are floats"):
        read_state_dict(tmp_path / "integers.safetensors")


def test_torch_reads_what_the_reader_accepts(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "model.pt").write_bytes(archive_of(STATE_DICT))
    assert read_state_dict(tmp_path / "model.pt")["a"].tolist() == [0, 0, 0]
    torch.save({"a": torch.arange(3)}, tmp_path / "integers.pt")
    with pytest.raises(ae_jax.InputError, match="holds tensors that are not dense floats"):
        read_state_dict(tmp_path / "integers.pt")


def test_run_imported_from_pytorch_can_be_resumed(
    untrained_run: Callable[..., Path], labelled_images: Path, tmp_path: Path
) -> None:
    source = to_torch(untrained_run("linear", output="tanh"), tmp_path)
    run_dir = tmp_path / "run"
    convert(ConvertConfig("from-torch", str(source), str(run_dir), output="tanh"))
    assert ae_jax.load_model(run_dir).model.output == "tanh"
    before = ae_jax.load_model(run_dir).params
    resume(run_dir, dataset=str(labelled_images), epochs=1, learning_rate=1e-30, batch_size=30)
    trained = ae_jax.load_model(run_dir)
    assert (trained.step, trained.metadata["dataset_used"]) == (9, str(labelled_images))
    for after, given in zip(jax.tree.leaves(trained.params), jax.tree.leaves(before), strict=True):
        np.testing.assert_allclose(after, given, atol=1e-25)  # started from these weights, at a negligible rate
    with pytest.raises(ae_jax.InputError, match=r"--learning-rate 0\.1 contradicts"):
        resume(run_dir, learning_rate=0.1)  # now that it has been trained
    with pytest.raises(ae_jax.InputError, match="already exists, and nothing is overwritten"):
        convert(ConvertConfig("from-torch", str(source), str(run_dir)))


def test_import_error_lists_wrong_names_shapes_and_non_finite_weights(
    untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    arrays = load_file(to_torch(untrained_run("conv"), tmp_path))
    good = dict(arrays)
    del arrays["encoder.0.bias"]
    arrays["decoder.9.weight"] = np.zeros(3, np.float32)
    arrays["decoder.2.weight"] = np.zeros((32, 16, 5, 5), np.float32)
    cases = {
        "wrong": (arrays, r"for conv, .*missing encoder\.0\.bias \(16,\)"),
        "unexpected": (arrays, r"unexpected decoder\.9\.weight \(3,\)"),
        "shape": (arrays, r"decoder\.2\.weight has shape \(32, 16, 5, 5\), not \(32, 16, 3, 3\)"),
        "unknown": ({"fc.weight": np.zeros(2, np.float32)}, r"fits none of the models.*unexpected fc\.weight"),
        "not finite": ({**good, "encoder.0.bias": np.full(16, np.nan, np.float32)}, r"encoder\.0\.bias .* not finite"),
    }
    for name, (tensors, message) in cases.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(ae_jax.InputError, match=message) as error:
            convert(ConvertConfig("from-torch", str(tmp_path / f"{name}.safetensors"), str(tmp_path / "run")))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_files_without_weights_raise_clear_errors(untrained_run: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "text.bin").touch()
    (tmp_path / "folder.safetensors").mkdir()
    checkpoint = ae_jax.latest_checkpoint(untrained_run("conv"))
    cases = {
        "none.safetensors": "is not a file; give a state dict",
        "folder.safetensors": "is not a file; give a state dict",
        "text.safetensors": "cannot be read as float tensors",
        "empty.safetensors": "cannot be read as float tensors",
        "text.bin": r"must end in \.safetensors, \.pt or \.pth",
        checkpoint: "is already a checkpoint of ae_jax",
    }
    for name, message in cases.items():
        with pytest.raises(ae_jax.InputError, match=message):
            convert(ConvertConfig("from-torch", str(tmp_path / name), str(tmp_path / "run")))


def test_convert_and_export_refuse_existing_outputs_and_wrong_suffixes(
    untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    path = to_torch(untrained_run("linear"), tmp_path)
    with pytest.raises(ae_jax.InputError, match="already exists, and nothing is overwritten"):
        ConvertConfig("to-torch", "runs/linear", str(path))
    with pytest.raises(ae_jax.InputError, match=r"must end in \.safetensors"):
        ConvertConfig("to-torch", "runs/linear", "model.pt")
    with pytest.raises(ae_jax.InputError, match="already exists, and nothing is overwritten"):
        ExportConfig("runs/linear", str(tmp_path))


RUN_EXPORTED = """
import sys
import numpy as np
from jax import export
images = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    names = ("encode", "decode", "reconstruct")
    programs = [export.deserialize(open(f"{folder}/{name}.stablehlo", "rb").read()) for name in names]
    encode, decode, reconstruct = programs
    assert encode.platforms == ("cpu", "cuda", "tpu")
    for n in (1, 7) if folder.endswith("linear") else (7,):
        code = encode.call(images[:n])
        codes = code if isinstance(code, (tuple, list)) else (code,)
        arrays = {"recons": reconstruct.call(images[:n]), "decoded": decode.call(*codes), "latents": codes[0]}
        np.savez(f"{folder}/{n}.npz", **arrays)
assert not {"ae_jax", "flax", "optax"} & set(sys.modules)
"""


def test_exported_stablehlo_reproduces_the_model_without_ae_jax(
    untrained_run: Callable[..., Path], digits: np.ndarray, tmp_path: Path
) -> None:
    for arch in ARCHS:
        export_run(ExportConfig(str(untrained_run(arch)), str(tmp_path / arch)))
    images = np.asarray(ae_jax.normalise(digits[:7]))
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", RUN_EXPORTED, tmp_path / "images.npy", *(tmp_path / arch for arch in ARCHS)]
    subprocess.run(command, check=True)
    for arch in ARCHS:
        trained = ae_jax.load_model(untrained_run(arch))
        apply = jax.jit(trained.model.apply, static_argnames="method")
        for n in (1, 7) if arch == "linear" else (7,):
            with np.load(tmp_path / arch / f"{n}.npz") as file:
                found = dict(file)
            code = apply({"params": trained.params}, images[:n], method="encode")
            recons = apply({"params": trained.params}, images[:n])
            np.testing.assert_allclose(found["latents"], getattr(code, "latents", code), atol=1e-6)
            np.testing.assert_allclose(found["recons"], recons, atol=1e-6)
            np.testing.assert_allclose(found["decoded"], recons, atol=1e-6)


def test_an_export_of_jax_0_7_2_is_read_until_it_is_too_old_and_then_refused() -> None:
    exported = (ROOT / "tests/golden/exported.stablehlo").read_bytes()
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    if jax.__version_info__ < (0, 11):
        np.testing.assert_array_equal(export.deserialize(exported).call(images), images.max((1, 2, 3)))
    elif jax.__version_info__ >= (0, 12):
        with pytest.raises(ValueError, match="older than the 6-month backward-compatibility window"):
            export.deserialize(exported)


def test_pt_files_that_claim_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    resource = pytest.importorskip("resource", reason="measures memory on Unix")
    one = torch.ones(1)
    torch.save({"encoder.0.weight": one.expand(10**8)}, tmp_path / "expanded.pt")
    torch.save({"encoder.0.weight": one}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"encoder.0.weight": bytearray(4)}, tmp_path / "bytearray.pt")
    torch.save({"encoder.0.weight": one.to("meta").expand(10**12)}, tmp_path / "meta.pt")
    torch.save({"encoder.0.weight": torch.zeros(3)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    huge = b"\x8a\x05" + (10**11).to_bytes(5, "little")  # LONG1
    variants = {
        "size": {name: content.replace(b"K\x03\x85", huge + b"\x85") for name, content in members.items()},
        "storage": {name: content.replace(b"K\x03tq", huge + b"tq") for name, content in members.items()},
    }
    for name, changed in variants.items():
        assert changed != members
        write_archive(tmp_path / f"{name}.pt", changed, zipfile.ZIP_STORED)
    write_archive(tmp_path / "deflated.pt", {**members, "whole/data/0": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(tmp_path.glob("*.pt")):
        with pytest.raises(ae_jax.InputError) as error:
            convert(ConvertConfig("from-torch", str(path), str(tmp_path / "run")))
        assert str(error.value).isprintable()
        assert ("fits none of the models" in str(error.value)) == (path.name in ("whole.pt", "storage.pt")), path
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


def write_archive(path: Path, members: dict[str, bytes], compression: int) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_hostile_safetensors_headers_raise_one_line_errors(tmp_path: Path) -> None:
    path = tmp_path / "hostile.safetensors"
    for content in hostile_headers():
        path.write_bytes(content)
        with pytest.raises(ae_jax.InputError) as error:
            convert(ConvertConfig("from-torch", str(path), str(tmp_path / "run")))
        assert str(error.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_no_state_dict_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.safetensors")
    with pytest.raises(ae_jax.InputError, match="is not a file"):
        convert(ConvertConfig("from-torch", str(tmp_path / "fifo.safetensors"), str(tmp_path / "run")))
