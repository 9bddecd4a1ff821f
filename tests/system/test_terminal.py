import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("environment")
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
posix = pytest.mark.skipif(os.name != "posix", reason="closes descriptors with a shell")


def run(body: str, redirections: str = "", **environment: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command with this body."""
    program = (
        "import logging, sys\n"
        "from ae_jax.cli import run_command\n"
        "from ae_jax.errors import InputError\n"
        f"def main():\n    {body}\n"
        "run_command(main)"
    )
    command = ["sh", "-c", f'exec "$0" "$@" {redirections}'] if redirections else []
    return _outcome([*command, sys.executable, "-c", program], environment)


def _outcome(command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    result = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})
    return result.returncode, result.stdout.decode(), result.stderr.decode()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_characters_that_the_encoding_lacks_are_escaped(encoding: str) -> None:
    outcome = run(r"print('5 \u2192 6, \xe9, \udcff')", **ENCODINGS[encoding])
    assert outcome == (0, "5 \\u2192 6, \\xe9, \\udcff\n", "")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_help_is_printed_in_any_encoding(script: str, encoding: str) -> None:
    code, output, errors = _outcome([sys.executable, str(ROOT / "scripts" / script), "--help"], ENCODINGS[encoding])
    assert (code, errors) == (0, "")
    assert "--help" in output


def test_undecodable_names_are_printed_and_other_text_is_left_as_it_is() -> None:
    body = r"print('5 \u2192 6\t\xe9 \udcff'); raise InputError('\udcff')"
    assert run(body, PYTHONIOENCODING="utf-8") == (2, "5 \u2192 6\t\xe9 \\udcff\n", "error: \\udcff\n")


def test_control_characters_never_reach_the_terminal() -> None:
    evil = r"'a\x1b[2J\x9b1m\x07\rb'"
    body = f"print({evil}); logging.getLogger('ae_jax').warning({evil}); raise InputError({evil} + '\\nc')"
    shown = "a\\x1b[2J\\x9b1m\\x07\\rb"
    assert run(body) == (2, f"{shown}\n", f"{shown}\nerror: {shown}\\nc\n")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ("InputError(name)", 2),
        ("InputError(str(InputError(name)))", 2),
        ("RunError(name)", 1),
        ("RunError(str(InputError(name)))", 1),
        ("OSError(name)", 1),
    ],
)
def test_control_characters_of_an_error_are_escaped_once(raised: str, code: int) -> None:
    body = rf"from ae_jax.errors import RunError; name = 'a\tb\x1b[1m\n'; raise {raised}"
    found, output, errors = run(body)
    assert (found, output) == (code, "")
    assert errors.rstrip(".\n") == r"error: a\tb\x1b[1m\n"


def test_control_characters_of_an_argument_are_escaped_once() -> None:
    body = r"from ae_jax.cli import parse; from ae_jax.inspection.config import EvaluateConfig; "
    body += r"parse(EvaluateConfig, '', ['run', 'a\tb\x1b'])"
    assert run(body) == (2, "", "error: unrecognized arguments: a\\tb\\x1b. Try --help.\n")


def test_a_name_in_an_archive_is_escaped_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **{"a\tb\x1b[1m": np.zeros(1), "c": np.zeros(1)})
    found, output, errors = run("import ae_jax; ae_jax.load_dataset('own.npz')")
    assert (found, output) == (2, "")
    assert errors.startswith(r"error: own.npz holds a\tb\x1b[1m, c; name the image array")


def test_progress_bars_still_return_to_the_start_of_the_line() -> None:
    code, output, errors = run("from tqdm import tqdm; list(tqdm(range(3))); tqdm.write('done')")
    assert (code, output) == (0, "done\n")
    assert errors.startswith("\r")
    assert "\\x" not in errors


@posix
@pytest.mark.parametrize(
    ("redirections", "output", "errors"),
    [(">&-", "", "error: bad.\n"), ("2>&-", "started\n", ""), (">&- 2>&-", "", ""), ("<&- >&- 2>&-", "", "")],
)
def test_closed_streams_do_not_change_the_exit_code(redirections: str, output: str, errors: str) -> None:
    assert run("print('started')", redirections) == (0, output, "")
    assert run("print('started'); raise InputError('bad.')", redirections) == (2, output, errors)


@posix
def test_closed_descriptors_lead_to_the_null_device() -> None:
    is_null = "os.path.samestat(os.fstat(descriptor), os.stat(os.devnull))"
    body = f"import os; raise InputError('') if all({is_null} for descriptor in range(3)) else KeyError"
    assert run(body, "<&- >&- 2>&-")[0] == 2


def test_progress_bars_leave_no_semaphore_behind_a_process_that_exits_at_once() -> None:
    program = """if True:
        import multiprocessing, os
        multiprocessing.set_start_method("spawn")  # the default on macOS
        from ae_jax.cli import parse
        from ae_jax.config import TrainConfig
        parse(TrainConfig, "", [])
        from tqdm import tqdm
        tqdm(range(2), disable=None)
        os._exit(0)"""
    assert _outcome([sys.executable, "-c", program], {}) == (0, "", "")
