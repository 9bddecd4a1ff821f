import os
from pathlib import Path

import pytest

from ae_jax.system.atomic import append_line, remove_temporaries, write_atomic


def test_write_replaces_a_file_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomic(path, b"first")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_failed_write_keeps_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_atomic(path, b"first")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device", "from", None, "to")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left") as error:
        write_atomic(path, b"second")
    assert error.value.filename == str(path)
    assert str(error.value) == f"[Errno 28] No space left on device: {str(path)!r}"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_files_have_names_that_cannot_be_guessed_and_follow_no_symlink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").write_bytes(b"kept")
    monkeypatch.setattr("secrets.token_hex", lambda n: "guess")
    (tmp_path / ".file.guess.tmp").symlink_to("victim")
    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "file", b"content")
    monkeypatch.undo()
    (tmp_path / f".file.{os.getpid()}.tmp").symlink_to("victim")
    write_atomic(tmp_path / "file", b"content")
    assert (tmp_path / "victim").read_bytes() == b"kept"
    assert not (tmp_path / "file").is_symlink()


def test_lines_are_appended(tmp_path: Path) -> None:
    for line in ("one", "two"):
        append_line(tmp_path / "lines", line)
    assert (tmp_path / "lines").read_text() == "one\ntwo\n"


def test_only_old_temporaries_are_removed(tmp_path: Path) -> None:
    for name, age in {".old.1.tmp": 100.0, ".new.2.tmp": 200.0, "file.tmp": 100.0}.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (age, age))
    remove_temporaries(tmp_path, older_than=150.0)
    assert {path.name for path in tmp_path.iterdir()} == {".new.2.tmp", "file.tmp"}
    remove_temporaries(tmp_path)
    remove_temporaries(tmp_path / "missing")
    assert {path.name for path in tmp_path.iterdir()} == {"file.tmp"}
