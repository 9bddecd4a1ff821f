import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ORDER = re.findall(r"^  (\w+)\.py ", (ROOT / "README.md").read_text(), re.MULTILINE)


def imported_modules(name: str) -> set[str]:
    tree = ast.parse((ROOT / "ae_jax" / f"{name}.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules = {node.module.removeprefix("ae_jax.") for node in imports if node.module.startswith("ae_jax.")}
    return modules | {alias.name for node in imports if node.module == "ae_jax" for alias in node.names}


def test_the_readme_lists_every_module() -> None:
    assert sorted(ORDER) == sorted(path.stem for path in (ROOT / "ae_jax").glob("*.py"))


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_what_the_readme_lists_before_it(name: str) -> None:
    assert imported_modules(name) <= set(ORDER[: ORDER.index(name)])


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_a_script_imports_the_package_and_no_other_script(script: Path) -> None:
    tree = ast.parse(script.read_text())
    modules = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules == {"ae_jax"}


def test_importing_the_package_imports_nothing_heavy_and_asks_for_no_device() -> None:
    program = (
        "import sys, ae_jax\n"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'matplotlib', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    no_device = {**os.environ, "JAX_PLATFORMS": "none_such"}  # any query for a device raises
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=no_device, check=True)
    asking = [sys.executable, "-c", "import jax; jax.devices()"]
    assert subprocess.run(asking, env=no_device, capture_output=True, check=False).returncode != 0
