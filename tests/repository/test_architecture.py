import ast
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

LAYERS = (
    {"types", "errors", "choices", "figures", "ops"},
    {"system"},
    {"config", "models"},
    {"cli", "data"},
    {"training", "metrics"},
    {"parallel"},
    {"runs"},
    {"sweep", "inspection", "explorer"},
    {"exchange"},
    {"commands"},
)
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}  # of each module or package of ae_jax
LAYER["__version__"] = -1  # a constant, which any module may import
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
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


def test_modules_import_from_their_own_package_or_a_lower_layer() -> None:
    wrong = {}
    for path in (ROOT / "ae_jax").rglob("*.py"):
        package = path.relative_to(ROOT / "ae_jax").parts[0].removesuffix(".py")
        if package not in ("__init__", "__main__"):
            wrong[str(path)] = violations(package, path.read_text())
    assert len(wrong) > 50
    assert {path: names for path, names in wrong.items() if names} == {}
    assert not {name for name in imported_names((ROOT / "ae_jax/__init__.py").read_text()) if name.startswith("ae_jax")}


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


def test_scripts_import_the_package_and_no_other_script() -> None:
    for script in SCRIPTS:
        modules = imported_names(script.read_text())
        assert any(module.startswith("ae_jax.") for module in modules)
        packages = {path.stem for path in SCRIPTS} - {"faults"} | {"scripts"}  # faults is a package too
        assert not packages & {module.split(".")[0] for module in modules}


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


def test_command_lines_are_answered_before_jax_is_imported() -> None:
    program = (
        "import sys\n"
        "from tests.support.commands import run_main\n"
        "for script in sys.argv[1:]:\n"
        "    for argument, code in {'--help': 0, '--nonsense': 2}.items():\n"
        "        try: run_main(script, argument)\n"
        "        except SystemExit as end: assert end.code == code, (script, end.code)\n"
        "        else: raise AssertionError(script)\n"
        "    assert not {'jax', 'flax', 'optax'} & set(sys.modules), script"
    )
    names = [path.name for path in SCRIPTS]
    subprocess.run([sys.executable, "-c", program, *names], cwd=ROOT, capture_output=True, check=True)
