"""The operating system: atomic writes, outputs, signals, streams, the compilation cache."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ae_jax.errors import InputError, RunError
from ae_jax.system import (
    check_output,
    remove_temporaries,
    use_compilation_cache,
    write_atomic,
    write_output,
)
from tests.conftest import ROOT

posix = pytest.mark.skipif(os.name != "posix", reason="closes descriptors with a shell, sends signals")


def test_a_write_replaces_a_file_or_fails_and_leaves_nothing_else(
    tmp_path: Path, limit_file_size: Callable[[int], None]
) -> None:
    limit_file_size(1024)
    path = tmp_path / "file.json"
    write_atomic(path, b"first")
    write_atomic(path, b"second")
    with pytest.raises(OSError, match="File too large") as error:
        write_atomic(path, b"third" * 1000)
    assert error.value.filename == str(path)
    with pytest.raises(RunError, match=r"new\.json cannot be written: File too large; choose another path\.$"):
        write_output(tmp_path / "new.json", b"content" * 1000)
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_output_is_refused_before_and_after_the_work_unless_its_path_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "new" / "metrics.json"
    check_output(path, "json", (".json",))
    write_output(path, b"first")
    with pytest.raises(InputError, match=r"metrics\.json already exists, and nothing is overwritten; .*`json`"):
        check_output(path, "json")
    with pytest.raises(RunError, match=r"metrics\.json cannot be written: it has come into existence"):
        write_output(path, b"second")
    assert path.read_bytes() == b"first"
    write_output(path, b"third", replace=True)
    assert path.read_bytes() == b"third"
    assert list(path.parent.iterdir()) == [path]


def test_outputs_that_cannot_be_written_as_asked_are_refused_up_front(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"`figure` must end in \.png, \.svg, not .*out\.gif\."):
        check_output(tmp_path / "out.gif", "figure", (".png", ".svg"))
    with pytest.raises(InputError, match="is not a writable directory"):
        check_output(tmp_path / "file" / "out", "out")


def run(body: str, redirections: str = "", **environment: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command with this body, as a process of its own."""
    program = (
        "import gc, os, signal, time\n"
        "from ae_jax.cli import Command\n"
        "from ae_jax.commands import main\n"
        "from ae_jax.errors import InputError\n"
        "from ae_jax.system import hint_on_exit\n"
        f"def act():\n    {body}\n"
        "main(['act'], {'act': Command('Act.', '__main__:act', 'Acting', {}, ())})"
    )
    shell = ["sh", "-c", f'exec "$0" "$@" {redirections}'] if redirections else []
    command = [*shell, sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, env={**os.environ, **environment})
    return result.returncode, result.stdout.decode(), result.stderr.decode()


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_characters_that_the_encoding_lacks_are_escaped(encoding: dict[str, str]) -> None:
    body = r"print('5 \u2192 6, \udcff'); raise InputError('\u2192 \udcff.')"
    code, output, errors = run(body, PYTHONCOERCECLOCALE="0", **encoding)
    assert (code, output) == (2, "5 \\u2192 6, \\udcff\n")
    assert errors == "error: \u2192 \\udcff.\n"


@posix
@pytest.mark.parametrize("redirections", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_change_the_exit_code(redirections: str) -> None:
    body = "print('started'); assert open(os.devnull).fileno() > 2; raise InputError('bad.')"
    code, _, errors = run(body, redirections)
    assert (code, errors) == (2, "" if "2>&-" in redirections else "error: bad.\n")


@posix
@pytest.mark.parametrize(
    "body",
    [
        "gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGTERM)); gc.collect()",  # swallows exceptions
        "with hint_on_exit(lambda: 'Resume.'): os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)",
    ],
)
def test_a_signal_ends_a_process_wherever_it_is(body: str) -> None:
    assert run(f"{body}; print('out')") == (143, "", f"Terminated.{' Resume.' * ('Resume' in body)}\n")


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory of the user's, and no setting of JAX's cache."""
    for name in ("DIR", "MAX_SIZE"):
        monkeypatch.setenv(f"JAX_COMPILATION_CACHE_{name}", "")  # so that what is set is undone
        monkeypatch.delenv(f"JAX_COMPILATION_CACHE_{name}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ae_jax"


def test_a_second_process_finds_compiled_programs_and_compiles_corrupt_ones_again(cache_home: Path) -> None:
    def is_found() -> bool:
        body = "import jax; jax.monitoring.register_event_listener(lambda event, **_: print(event)); "
        code, output, errors = run(f"{body}print(jax.jit(lambda x: x * 3 + 1)(2.0))")
        assert (code, errors) == (0, "")
        assert "7.0" in output
        return "cache_hits" in output

    assert not is_found()
    entries = [path for path in cache_home.rglob("*-cache") if path.name.startswith("jit")]
    assert entries
    assert is_found()
    for path in entries:
        path.write_bytes(path.read_bytes()[:-100])
    assert not is_found()


def test_the_cache_is_for_one_kind_of_machine_and_a_users_own_goes_first(
    cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = set()
    for threads in ("3", "5"):
        monkeypatch.setenv("NPROC", threads)
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        use_compilation_cache()
        folders.add(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert {Path(folder).parent for folder in folders} == {cache_home}
    assert len(folders) == 2
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    use_compilation_cache()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"


@pytest.mark.parametrize("home", ["/dev/null", None])
def test_no_writable_home_is_no_error(home: str | None, cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if home:
        monkeypatch.setenv("XDG_CACHE_HOME", home)
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", classmethod(lambda cls: Path("~nobody-of-this-name").expanduser()))
    use_compilation_cache()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_only_its_own_temporary_files_are_removed(tmp_path: Path) -> None:
    own, foreign = tmp_path / f".loss.png.{'0a' * 8}.tmp", tmp_path / ".notes.tmp"
    for path in (own, foreign):
        path.touch()
    remove_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_locked_compilation_cache_is_left_alone(tmp_path: Path) -> None:
    script = (
        "import os, glob\n"
        "from filelock import FileLock\n"
        "from ae_jax import system\n"
        "system._LOCK_SECONDS = 0.1\n"
        "system.use_compilation_cache()\n"
        "folder = os.environ.pop('JAX_COMPILATION_CACHE_DIR')\n"
        "with FileLock(folder + '/.lockfile', is_singleton=False):\n"
        "    system.use_compilation_cache()\n"
        "assert os.environ['JAX_ENABLE_COMPILATION_CACHE'] == '0'\n"
        "assert 'JAX_COMPILATION_CACHE_DIR' not in os.environ"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("is locked by another process: programs are compiled anew.") == 1
