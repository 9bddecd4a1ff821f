import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ae_jax.cli import parse_training
from ae_jax.config import TrainConfig
from ae_jax.system.compilation_cache import use_compilation_cache
from ae_jax.system.cpu import num_cores
from tests.conftest import Script
from tests.support.commands import bad_input
from tests.support.outcomes import assert_same_outcome

SETTINGS = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_COMPILATION_CACHE_MAX_SIZE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)


@pytest.fixture
def cache_home(environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache directory of the user's, and no setting of JAX's cache."""
    for name in (*SETTINGS, "JAX_ENABLE_COMPILATION_CACHE"):
        monkeypatch.setenv(name, "")  # so that what the function sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def contents(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_processes_repeat_a_run_bit_for_bit_and_never_overwrite(
    train_script: Script, own_images: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With programs compiled, from the cache, and compiled anew where entries are damaged; on any number of cores."""
    arguments = ("--arch", "linear", "--dataset", own_images, "--epochs", 1, "--devices", 1)

    def run(run_dir: str, *more: object) -> str:
        result = train_script(*arguments, *more)
        assert result.returncode == 0, result.stderr
        assert_same_outcome("runs/linear", run_dir)
        return result.stderr

    monkeypatch.setenv("JAX_LOG_COMPILES", "1")
    programs = re.findall(r"Compiling (jit\(.*)", run("runs/linear"))
    assert len([program for program in programs if program.startswith("jit(run_steps)")]) == 1
    assert len(programs) == len(set(programs))
    entries = sorted(cache_home.rglob("*-cache"))
    assert any(path.name.startswith("jit_run_steps") for path in entries)
    first = contents("runs/linear")

    monkeypatch.setenv("JAX_LOG_COMPILES", "0")
    for path in entries[::2]:
        path.write_bytes(path.read_bytes()[:-100])
    assert run("runs/linear-2") == ""
    assert sorted(cache_home.rglob("*-cache")) == entries

    if hasattr(os, "sched_setaffinity") and num_cores() > 1:
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})  # inherited by the process that is started
        try:
            run("one-core", "--no-compilation-cache", "--run-dir", "one-core")
        finally:
            os.sched_setaffinity(0, cores)

    error = bad_input("train.py", *arguments, "--run-dir", "runs/linear")
    assert error.startswith("error: runs/linear already holds a run, and nothing is overwritten; ")
    assert error.count("\n") == 1
    assert contents("runs/linear") == first
    assert {path.name for path in Path("runs").iterdir()} == {"linear", "linear-2"}
    figure = "figures/reconstructions_epoch_0001.png"
    assert contents("runs/linear-2")[figure] == first[figure]


def test_a_flag_switches_the_cache_off(cache_home: Path) -> None:
    parse_training({"tutorial": TrainConfig}, "", ["--no-compilation-cache"])
    assert os.environ["JAX_ENABLE_COMPILATION_CACHE"] == "0"
    assert not set(SETTINGS) & set(os.environ)
    parse_training({"tutorial": TrainConfig}, "", [])
    assert set(SETTINGS) <= set(os.environ)


def test_a_cache_of_the_users_goes_first(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    use_compilation_cache()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    assert not cache_home.exists()


def test_machines_with_other_cpus_or_threads_do_not_share_programs(
    cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = set()
    for threads in ("3", "5"):
        monkeypatch.setenv("NPROC", threads)
        for features in ("x86_64 avx2", "x86_64 avx512f"):
            monkeypatch.setattr("ae_jax.system.compilation_cache.cpu_features", lambda features=features: features)
            monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
            use_compilation_cache()
            folders.add(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert len(folders) == 4
    assert {Path(folder).parent for folder in folders} == {cache_home / "ae_jax"}


def test_a_directory_that_cannot_be_made_or_that_others_can_write_is_not_used(
    cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_compilation_cache()
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    folder.chmod(0o770)
    use_compilation_cache()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    use_compilation_cache()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
