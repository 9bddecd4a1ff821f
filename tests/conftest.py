"""Environment and order of the tests, and fixtures that need no JAX; the others are in `tests/support/fixtures.py`."""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Script = Callable[..., subprocess.CompletedProcess[str]]

_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # its threads wait by spinning, and the cores are taken as it is
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # processes that tests start share a GPU's memory
    # Most of what tests compile runs for a moment: LLVM need not try hard. What is held against PyTorch's numbers,
    # promised figures or equal bits asks for more: it is marked `optimised`.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment of workers and of processes that tests start, and import JAX where tests run."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _set_environment(config)
    if not config.getoption("numprocesses", None) or config.option.collectonly:
        config.pluginmanager.import_plugin("tests.support.fixtures")


def _set_environment(config: pytest.Config) -> None:
    compilations = tempfile.TemporaryDirectory()  # many tests compile what another one has compiled
    config.add_cleanup(compilations.cleanup)
    os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compilations.name


def pytest_xdist_auto_num_workers() -> int:
    """The number of cores that may be used; pytest-xdist would count all."""
    from ae_jax.system import num_cores  # here, as in a worker its annotations are to be checked

    return num_cores()


@pytest.fixture
def limit_file_size() -> Iterator[Callable[[int], None]]:
    """Let writes beyond a number of bytes fail until the test ends, as on a full disk."""
    resource = pytest.importorskip("resource", reason="needs the file size limits of Unix")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that all tests share, in all processes: what one has prepared, the next finds."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return tmp_path_factory.mktemp("data")
    folder = tmp_path_factory.getbasetemp().parent / "data"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def mnist_files() -> Path:
    """The folder of the official MNIST files; the tests that need the real digits are skipped without."""
    path = os.environ.get("AE_JAX_MANUAL_DIR")
    if not path:
        pytest.skip("needs the real digits: set AE_JAX_MANUAL_DIR to a folder with the official MNIST files")
    return Path(path).resolve()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, for this process and its children: every proxy is a closed port."""
    use_proxy(monkeypatch, port=9)


def use_proxy(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Send every request to a port of this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, data_dir: Path, tmp_path: Path) -> None:
    """An empty working folder, the shared data folder, no official files, and this clone's modules for processes."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.delenv("AE_JAX_MANUAL_DIR", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run_script(environment: None) -> Script:
    """`ae-jax COMMAND …` as a process of its own."""
    return functools.partial(_run_module, "ae_jax")


@pytest.fixture
def train_script(run_script: Script) -> Script:
    """`ae-jax train` as a process of its own."""
    return functools.partial(run_script, "train")


@pytest.fixture
def faults_script(environment: None) -> Script:
    """`python -m faults` as a process of its own."""
    return functools.partial(_run_module, "faults")


@pytest.fixture
def benchmark_script(environment: None) -> Script:
    """`python -m benchmarks` as a process of its own."""
    return functools.partial(_run_module, "benchmarks")


def _run_module(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", name, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


# Tests that start processes or run for long come first, so that no worker is left with one at the end; next to each
# other, those that compile with all optimizations.
_LONG = ("test_processes", "test_notebook", "test_faults", "runs/test_interruptions", "sweep/", "runs/test_quality")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> tuple[bool, bool]:
        is_long, optimised = any(name in item.nodeid for name in _LONG), bool(item.get_closest_marker("optimised"))
        return not is_long, optimised == is_long

    items.sort(key=place)
