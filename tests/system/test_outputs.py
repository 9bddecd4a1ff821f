import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ae_jax.errors import InputError, RunError
from ae_jax.system.outputs import check_distinct, check_output, check_output_dir, replace_output, write_output

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs devices, FIFOs and symlinks")


def test_a_new_file_is_written_and_an_existing_one_refused_before_and_after_the_work(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    check_output(str(path), "--json")
    write_output(path, b"first")
    with pytest.raises(InputError, match=r"new\.json already exists, and nothing is overwritten; choose another file"):
        check_output(str(path), "--json")
    with pytest.raises(RunError, match=r"new\.json cannot be written \(File exists\); choose another file"):
        write_output(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "words"), [(OSError("words alone"), "words alone"), (OSError(28, "No space", "a", None, "b"), "No space")]
)
def test_a_failed_write_says_why(error: OSError, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", fail)
    for write in (write_output, replace_output):
        with pytest.raises(RunError, match=rf"new\.json cannot be written \({words}\); choose another file\.$"):
            write(tmp_path / "new.json", b"content")
    assert not list(tmp_path.iterdir())


@posix
def test_the_target_of_a_symlink_is_created_once_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link, target = tmp_path / "link.json", tmp_path / "elsewhere" / "target.json"
    link.symlink_to("elsewhere/target.json")
    check_output(str(link), "--json")
    write_output(link, b"first")
    assert link.is_symlink()
    assert target.read_bytes() == b"first"
    with pytest.raises(InputError, match=r"link\.json already exists"):
        check_output(str(link), "--json")
    with pytest.raises(RunError, match="File exists"):
        write_output(link, b"second")
    assert target.read_bytes() == b"first"


@posix
@pytest.mark.parametrize("through_link", [False, True])
def test_a_fifo_is_written_into_and_stays(through_link: bool, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    path = tmp_path / "link" if through_link else fifo
    if through_link:
        path.symlink_to(fifo)
    check_output(str(path), "--json")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    write_output(path, b"content" * 100_000)
    reader.join(timeout=60)
    assert read == [b"content" * 100_000]
    assert fifo.is_fifo()
    assert path.is_symlink() == through_link


@posix
def test_a_device_is_written_into_and_stays(tmp_path: Path) -> None:
    for path in (Path("/dev/null"), tmp_path / "link"):
        if not path.exists():
            path.symlink_to("/dev/null")
        check_output(str(path), "--json")
        write_output(path, b"content")
        assert path.is_char_device()
    assert (tmp_path / "link").is_symlink()
    if os.path.exists("/dev/full"):
        with pytest.raises(RunError, match=r"/dev/full cannot be written \(No space left on device\)"):
            write_output("/dev/full", b"content")


def unwritable_paths(folder: Path) -> list[Path]:
    """A directory, paths in no directory and below a file, a symlink into no directory and one to itself."""
    (folder / "file").touch()
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("none/target")
    return [folder, folder / "none" / "out", folder / "file" / "out", folder / "dangling", folder / "loop"]


@posix
def test_what_cannot_be_written_is_refused_up_front(tmp_path: Path) -> None:
    for path in unwritable_paths(tmp_path):
        with pytest.raises(InputError, match=r"cannot be written; |already exists, "):
            check_output(str(path), "--json")
    with pytest.raises(InputError, match="is not a writable directory"):
        check_output_dir(tmp_path / "file" / "folder")


def test_a_default_path_is_replaced_and_its_symlink_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "figure.png", tmp_path / "victim"
    replace_output(path, b"first")
    replace_output(path, b"second")
    assert path.read_bytes() == b"second"
    if os.name == "posix":
        path.unlink()
        victim.write_bytes(b"kept")
        path.symlink_to(victim)
        replace_output(path, b"third")
        assert (path.read_bytes(), path.is_symlink(), victim.read_bytes()) == (b"third", False, b"kept")


@posix
@pytest.mark.parametrize("spell", [str, lambda path: f"{path.parent}/../{path.parent.name}/{path.name}"])
def test_two_flags_must_not_name_the_same_file(spell: Callable[[Path], str], tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    with pytest.raises(InputError, match=r"--out and --codes are both .*; give two different files"):
        check_distinct({"--out": str(path), "--codes": spell(path)})
    check_distinct({"--out": str(path), "--codes": None})
    check_distinct({"--json": "/dev/null", "--figure": "/dev/null"})
