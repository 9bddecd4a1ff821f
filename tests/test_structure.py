import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = re.findall(r"^  ([\w/]+)\.py ", (ROOT / "README.md").read_text(), re.MULTILINE)
ORDER = [file.removesuffix("/__init__").replace("/", ".") for file in FILES]


def imported_modules(file: str) -> set[str]:
    tree = ast.parse((ROOT / "ae_jax" / f"{file}.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules = {node.module.removeprefix("ae_jax.") for node in imports if node.module.startswith("ae_jax.")}
    return modules | {alias.name for node in imports if node.module == "ae_jax" for alias in node.names}


def test_the_readme_lists_every_module() -> None:
    package = ROOT / "ae_jax"
    assert sorted(FILES) == sorted(str(path.relative_to(package).with_suffix("")) for path in package.rglob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_a_module_imports_only_what_the_readme_lists_before_it(file: str) -> None:
    assert imported_modules(file) <= set(ORDER[: FILES.index(file)])


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_a_script_imports_the_package_and_no_other_script(script: Path) -> None:
    tree = ast.parse(script.read_text())
    modules = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules == {"ae_jax"}


def test_importing_the_package_imports_nothing_heavy_and_asks_for_no_device() -> None:
    program = (
        "import sys, ae_jax\n"
        "[getattr(ae_jax, name) for name in ae_jax.__all__]\n"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'matplotlib', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    no_device = {**os.environ, "JAX_PLATFORMS": "none_such"}  # any query for a device raises
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=no_device, check=True)
    asking = [sys.executable, "-c", "import jax; jax.devices()"]
    assert subprocess.run(asking, env=no_device, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
@pytest.mark.parametrize("argument", ["--help", "--nonsense"])
def test_a_command_line_is_answered_before_jax_is_imported(script: str, argument: str) -> None:
    program = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: print('code', end.code)\n"
        "assert not {'jax', 'flax', 'optax'} & set(sys.modules)"
    )
    command = ["-c", f"import sys; sys.argv = {[str(ROOT / 'scripts' / script), argument]}\n{program}"]
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == ("code 0" if argument == "--help" else "code 2")
