"""Layers of the package: a module imports from its own package or from a lower layer, and import costs nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

LAYERS = (
    {"errors", "types", "ops"},
    {"config", "system", "figures"},
    {"tensorfile", "models", "cli"},
    {"data"},
    {"training", "metrics"},
    {"parallel"},
    {"runs"},
    {"sweep", "inspection", "explorer"},
    {"exchange"},
    {"commands"},
    {"__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}  # of each package or module of ae_jax


def imported_names(path: Path) -> set[str]:
    """The absolute names that a module imports, in functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    froms = {f"{node.module}.{each.name}" for node in nodes if isinstance(node, ast.ImportFrom) for each in node.names}
    return froms | {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}


def test_modules_import_from_their_own_package_or_a_lower_layer() -> None:
    wrong = set()
    for path in (ROOT / "ae_jax").rglob("*.py"):
        module = path.relative_to(ROOT / "ae_jax").with_suffix("").parts
        for name in imported_names(path):
            top, imported = (*name.split("."), "")[:2]
            upward = top == "ae_jax" and imported != module[0] and LEVEL.get(imported, 99) >= LEVEL.get(module[0], -1)
            if (upward and imported != "__version__") or top in ("benchmarks", "faults", "scripts", "tests"):
                wrong.add((".".join(module), name))
    assert wrong == set()


def test_importing_the_package_imports_nothing_heavy_and_asks_for_no_device() -> None:
    program = (
        "import sys, ae_jax\n"
        "assert not {'jax', 'numpy'} & set(sys.modules)\n"
        "[getattr(ae_jax, name) for name in ae_jax.__all__]\n"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'matplotlib', 'torch', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "try: import jax; jax.devices()\n"
        "except RuntimeError: sys.exit(3)"
    )
    no_device = {**os.environ, "JAX_PLATFORMS": "none_such"}  # any query for a device raises
    command = [sys.executable, "-W", "error", "-c", program]
    assert subprocess.run(command, cwd=ROOT, env=no_device, check=False).returncode == 3
