import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ae_jax.cli import parse_training
from ae_jax.config import TrainConfig
from ae_jax.system.compilation_cache import use_compilation_cache
from tests.conftest import Script
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


def test_damaged_entries_are_compiled_anew_and_the_run_is_the_same(
    train_script: Script, own_images: Path, cache_home: Path
) -> None:
    def run(run_dir: str) -> list[Path]:
        arguments = ("--arch", "linear", "--epochs", "1", "--dataset", own_images, "--run-dir", run_dir)
        result = train_script(*arguments)
        assert (result.returncode, result.stderr) == (0, "")
        return sorted(cache_home.rglob("*-cache"))

    entries = run("first")
    assert len(entries) >= 3
    for path in entries:
        path.write_bytes(path.read_bytes()[:-100])
    assert run("second") == entries
    assert_same_outcome("first", "second")


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
