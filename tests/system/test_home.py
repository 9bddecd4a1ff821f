import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, pwd, sys

def unknown(user):
    raise KeyError

pwd.getpwuid = unknown
from ae_jax.cli import run_command

def main():
    from matplotlib.figure import Figure
    Figure().savefig(os.devnull, format="png")
    print(os.environ["MPLCONFIGDIR"], os.path.isdir(os.environ["MPLCONFIGDIR"]))
    if sys.argv[1:]:
        os.kill(os.getpid(), int(sys.argv[1]))

run_command(main)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs the user database of Unix")
@pytest.mark.parametrize(("given", "signum"), [(True, 0), (False, 0), (False, 15)])
def test_figures_need_no_home_directory_and_leave_no_temporary_one(given: bool, signum: int, tmp_path: Path) -> None:
    hidden = {"HOME", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"TMPDIR": str(tmp_path)} | ({"MPLCONFIGDIR": str(tmp_path / "given")} if given else {})
    command = [sys.executable, "-c", PROGRAM, *([str(signum)] if signum else [])]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    folder, existed = result.stdout.split()
    assert (result.returncode, existed) == (128 + signum if signum else 0, "True")
    assert "home directory" not in result.stderr
    assert Path(folder).parent == tmp_path
    assert list(tmp_path.iterdir()) == ([tmp_path / "given"] if given else [])
