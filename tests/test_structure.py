import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# From the bottom to the top: a module imports only what stands on an earlier line.
ORDER = [
    ["types", "errors"],
    ["ops", "glyphs", "tensorfile", "pca", "figures", "batching"],
    ["models", "state", "array_files", "tfds_mnist", "config"],
    ["torch_weights", "train", "data", "checkpoint", "run_dir", "cli"],
    ["run"],
    ["__init__"],
]


def imported_modules(name: str) -> set[str]:
    tree = ast.parse((ROOT / "ae_jax" / f"{name}.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    packages = {node.module.removeprefix("ae_jax.") for node in imports if node.module.startswith("ae_jax.")}
    names = {alias.name for node in imports if node.module == "ae_jax" for alias in node.names}
    return packages | names


def test_every_module_has_its_place() -> None:
    modules = {path.stem for path in (ROOT / "ae_jax").glob("*.py")}
    assert modules == {name for line in ORDER for name in line}


@pytest.mark.parametrize("line", range(len(ORDER)))
def test_imports_go_strictly_down(line: int) -> None:
    below = {name for names in ORDER[:line] for name in names}
    for name in ORDER[line]:
        assert imported_modules(name) <= below, name


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
