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


def imported_names(path: Path) -> set[str]:
    """Of `import a.b` a.b; of `from a.b import c` both a.b and a.b.c, of which one is a module; in functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | ({node.module} - {"ae_jax"})
    return names


def imported_modules(file: str) -> set[str]:
    names = {name for name in imported_names(ROOT / "ae_jax" / f"{file}.py") if name.split(".")[0] == "ae_jax"}
    return {name.removeprefix("ae_jax.") for name in names} & {*ORDER, "ae_jax"}


def test_the_readme_lists_every_module() -> None:
    package = ROOT / "ae_jax"
    assert sorted(FILES) == sorted(str(path.relative_to(package).with_suffix("")) for path in package.rglob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_a_module_imports_only_what_the_readme_lists_before_it(file: str) -> None:
    assert imported_modules(file) <= set(ORDER[: FILES.index(file)])


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_a_script_imports_the_package_and_no_other_script(script: Path) -> None:
    others = {path.stem for path in script.parent.glob("*.py")} | {"scripts"}
    modules = imported_names(script)
    assert any(module.startswith("ae_jax.") for module in modules)
    assert not others & {module.split(".")[0] for module in modules}


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
