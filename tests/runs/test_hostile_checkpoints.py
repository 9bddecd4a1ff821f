"""Checkpoints from strangers: a valid digest says nothing about their content."""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.errors import DamagedFileError, InputError
from ae_jax.runs import train as train_module
from ae_jax.runs.train import resume, train
from ae_jax.system.tensorfile import read_tensors, write_tensors
from faults.hostile_checkpoints import HostileCheckpoint, hostile_models, hostile_progress
from tests.support.hostile_headers import hostile_headers

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Path:
    """A run of one of its two epochs; tests work on copies."""
    folder = tmp_path_factory.mktemp("whole")
    np.save(folder / "own.npy", digits)
    settings = {"epochs": 2, "checkpoint_every": "1steps", "keep": 99}
    run_dir = train(TrainConfig("linear", dataset=str(folder / "own.npy"), run_dir=str(folder / "run"), **settings))
    for path in sorted((run_dir / "checkpoints").iterdir())[6:]:
        path.unlink()
    return run_dir


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return shutil.copytree(whole, tmp_path / "copy")


def newest(run_dir: Path) -> Path:
    path = ae_jax.latest_checkpoint(run_dir)
    assert path
    return path


def assert_refused(contents: Iterable[HostileCheckpoint], path: Path, use: Callable[[], object]) -> None:
    """Every content in place of `path` must raise a one-line `InputError`, and nothing be lost."""
    before = {each.name for each in path.parent.iterdir()}
    for hostile in contents:
        hostile.write(path)
        with pytest.raises(InputError) as error:
            use()
        assert str(error.value).isprintable()
        assert {each.name for each in path.parent.iterdir()} == before


def test_load_model_refuses_hostile_checkpoints(copy: Path) -> None:
    assert_refused(hostile_models(newest(copy)), newest(copy), lambda: ae_jax.load_model(newest(copy)))


def test_resume_refuses_hostile_checkpoints(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, object] = {}  # one program, as nothing is trained
    make = train_module.make_program
    monkeypatch.setattr(
        train_module, "make_program", lambda *args, **settings: made.setdefault("program", make(*args, **settings))
    )
    valid = newest(copy)
    assert_refused([*hostile_models(valid), *hostile_progress(valid)], valid, lambda: resume(copy))


def test_hostile_headers_are_corrupt_files(tmp_path: Path) -> None:
    path = tmp_path / "step_00000001.safetensors"
    for content in hostile_headers():
        path.write_bytes(content)
        for read in (read_tensors, ae_jax.load_model):
            with pytest.raises(DamagedFileError) as error:
                read(path)
            assert str(error.value).isprintable()


def test_folders_in_a_checkpoint_are_ignored(copy: Path, tmp_path: Path) -> None:
    tensors, info = read_tensors(newest(copy))
    for name in ("data_dir", "manual_dir", "run_dir"):
        info["record"]["config"][name] = str(tmp_path / "elsewhere")
    write_tensors(newest(copy), tensors, info)
    assert resume(copy) == copy
    assert not (tmp_path / "elsewhere").exists()
    config = json.loads((copy / "config.json").read_text())
    assert (config["data_dir"], config["manual_dir"], config["run_dir"]) == (None, None, str(copy))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_no_checkpoint_and_never_waited_for(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    fifo = copy / "checkpoints" / "step_99999999.safetensors"
    os.mkfifo(fifo)
    with pytest.raises(InputError, match=r"cannot be read .it is not a regular file"):
        ae_jax.load_model(fifo)
    assert newest(copy) != fifo
    assert f"{fifo} cannot be read (it is not a regular file). It is skipped." in caplog.text
