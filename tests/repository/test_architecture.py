import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

LAYERS = (
    {"types", "errors", "choices", "figures", "ops"},
    {"config", "models", "system"},
    {"cli", "data"},
    {"training", "metrics"},
    {"parallel"},
    {"runs"},
    {"sweep", "inspection", "exchange"},
)
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}  # of each module or package of ae_jax
BESIDE = {"benchmarks", "faults", "scripts", "tests"}  # which import ae_jax, and never the other way round


def imported_names(source: str) -> set[str]:
    """Of `import a.b` a.b; of `from a.b import c` both a.b and a.b.c, of which one is a module; in functions too."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | ({node.module} - {"ae_jax"})
    return names


def violations(package: str, source: str) -> set[str]:
    """The imports that a module of `package`, or the module of that name, must not have."""
    wrong = set()
    for name in imported_names(source):
        top, *rest = name.split(".")
        if top == "ae_jax":
            imported = rest[0] if rest else ""
            if imported != package and LAYER.get(imported, len(LAYERS)) >= LAYER[package]:
                wrong.add(name)
        elif top in BESIDE:
            wrong.add(name)
    return wrong


@pytest.mark.parametrize("path", sorted((ROOT / "ae_jax").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_from_its_own_package_or_a_lower_layer(path: Path) -> None:
    package = path.relative_to(ROOT / "ae_jax").parts[0].removesuffix(".py")
    if package == "__init__":
        assert not {name for name in imported_names(path.read_text()) if name.startswith("ae_jax")}
    else:
        assert violations(package, path.read_text()) == set()


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("ops", "from ae_jax.models.layers import Conv"),  # upward
        ("training", "from ae_jax.metrics import pca"),  # between packages of a layer
        ("models", "def late():\n    import ae_jax.runs.train"),  # in a function
        ("runs", "import ae_jax"),  # all public names
        ("data", "from ae_jax.nothing import x"),  # in no layer
        ("runs", "from faults import report"),  # out of the package
    ],
)
def test_the_rule_of_imports_finds_what_breaks_it(package: str, source: str) -> None:
    assert len(violations(package, source)) >= 1
    assert violations(package, "from ae_jax.errors import InputError" if package != "ops" else "import jax") == set()


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_a_script_imports_the_package_and_no_other_script(script: Path) -> None:
    others = {path.stem for path in script.parent.glob("*.py")} - {"faults"} | {"scripts"}  # faults is a package too
    modules = imported_names(script.read_text())
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
