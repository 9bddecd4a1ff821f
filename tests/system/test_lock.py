import os
from pathlib import Path

import pytest

from ae_jax.errors import InputError
from ae_jax.system.lock import check_not_locked, lock

pytest.importorskip("fcntl", reason="directories are not locked here")


def test_directory_is_locked_for_one_holder_which_the_error_names(tmp_path: Path) -> None:
    with lock(tmp_path):
        holder = rf"is in use by process {os.getpid()} on .*; wait until it ends"
        with pytest.raises(InputError, match=holder), lock(tmp_path):
            pass
        with pytest.raises(InputError, match=holder):
            check_not_locked(tmp_path)
    check_not_locked(tmp_path)
    with lock(tmp_path):
        pass


def test_lock_is_released_by_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock(tmp_path):
        raise KeyError
    check_not_locked(tmp_path)


def test_missing_directory_is_not_locked_and_cannot_be(tmp_path: Path) -> None:
    check_not_locked(tmp_path / "missing")
    with pytest.raises(InputError, match="missing cannot be written"), lock(tmp_path / "missing"):
        pass


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "directory"])
def test_a_lock_file_that_is_not_a_regular_file_is_refused_and_left_alone(kind: str, tmp_path: Path) -> None:
    folder, victim = tmp_path / "run", tmp_path / "victim"
    folder.mkdir()
    if kind == "symlink":
        victim.write_bytes(b"kept")
    make = {"fifo": os.mkfifo, "directory": os.mkdir}.get(kind, lambda path: os.symlink(victim, path))
    make(folder / ".lock")
    message = r"run/\.lock is not a regular file; delete it or choose another --run-dir\."
    with pytest.raises(InputError, match=message), lock(folder):
        pass
    with pytest.raises(InputError, match=message):
        check_not_locked(folder)
    assert victim.exists() == (kind == "symlink")
    assert not victim.exists() or victim.read_bytes() == b"kept"
