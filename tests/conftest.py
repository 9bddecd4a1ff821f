"""Shared fixtures, strict numerics, shape checks of the whole package, and temporary directories only."""

import functools
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[1]

# Every annotation in the package is checked on every call, except in these modules.
_UNCHECKED = {
    "config": "some settings may be given as text, which the dataclass parses",
    "sweep.config": "the same",
    "schema": "it takes anything, and is called for each value of each file",
    "ops.primitives": "operands may be tracers of a transformation",
    "training.state": "the leaves of a pytree may be anything while it is mapped over",
}
_MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "ae_jax").rglob("*.py")}
_CHECKED = {name for name in _MODULES if not name.endswith("__init__")} - {f"ae_jax.{name}" for name in _UNCHECKED}
jaxtyping.install_import_hook(sorted(_CHECKED), "beartype.beartype")

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads wait by spinning, and the cores are taken as it is
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # processes that tests start share a GPU's memory
# Most of what tests compile runs for a moment: LLVM need not try hard, here and in processes that tests start. What is
# held against PyTorch's numbers or against promised figures asks for more: it is marked `optimised`.
_FEW_OPTIMIZATIONS = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") != "0"
# Many tests compile what another has compiled: one cache for all workers and for the processes that tests start.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _compilations = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compilations.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax  # noqa: E402
import numpy as np  # noqa: E402

import ae_jax  # noqa: E402
from ae_jax.config import TrainConfig  # noqa: E402
from ae_jax.data.datasets import open_dataset  # noqa: E402
from ae_jax.data.stored_images import StoredImages  # noqa: E402
from ae_jax.exchange.convert import from_torch  # noqa: E402
from ae_jax.models.autoencoders import make_model  # noqa: E402
from ae_jax.runs.train import train  # noqa: E402
from ae_jax.system.cpu import num_cores  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 8)  # where a test asks for several; what does not takes the first
jax.config.update("jax_default_matmul_precision", "highest")  # on GPUs and TPUs the default is not float32
gc.freeze()
gc.set_threshold(50_000)  # JAX keeps what it traces: looking through it again and again takes 8 % of the time

Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that all tests share, in all processes: what one has prepared, the next finds."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return tmp_path_factory.mktemp("data")
    folder = tmp_path_factory.getbasetemp().parent / "data"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def glyphs_dir(data_dir: Path) -> Path:
    """A data folder that all tests share and that holds glyphs alone."""
    folder = data_dir.with_name(f"{data_dir.name}-glyphs")
    ae_jax.load_dataset("glyphs", "train", data_dir=folder)
    ae_jax.load_dataset("glyphs", "test", data_dir=folder)
    return folder


@pytest.fixture(scope="session")
def mnist_files() -> Path:
    """The folder of the official MNIST files; the tests that need the real digits are skipped without."""
    path = os.environ.get("AE_JAX_MANUAL_DIR")
    if not path:
        pytest.skip("needs the real digits: set AE_JAX_MANUAL_DIR to a folder with the official MNIST files")
    return Path(path).resolve()


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """300 images, u8[300, 28, 28, 1]."""
    images, _ = ae_jax.draw_glyphs(jax.random.key(0), 300)
    return np.asarray(images)


@pytest.fixture(scope="session")
def training_digits(digits: np.ndarray) -> np.ndarray:
    """As many as `own_images` has for training: programs for them are shared with runs on that file."""
    return digits[:270]


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
    """An empty working folder, the shared data folder, and no official files."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.delenv("AE_JAX_MANUAL_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked: the package's own errors are seen."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def run_script(environment: None) -> Script:
    """A script, by its name, as a process of its own."""
    return _run_script


@pytest.fixture
def train_script(run_script: Script) -> Script:
    """`scripts/train.py` as a process of its own."""
    return functools.partial(run_script, "train.py")


@pytest.fixture
def faults_script(run_script: Script) -> Script:
    """`scripts/faults.py` as a process of its own."""
    return functools.partial(run_script, "faults.py")


@pytest.fixture
def benchmark_script(run_script: Script) -> Script:
    """`scripts/benchmark.py` as a process of its own."""
    return functools.partial(run_script, "benchmark.py")


def _run_script(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / name, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture
def own_images(tmp_path: Path, digits: np.ndarray) -> Path:
    """A user's file of 300 images."""
    path = tmp_path / "own.npy"
    np.save(path, digits)
    return path


@pytest.fixture
def stored(own_images: Path) -> StoredImages:
    """The 270 training images of that file, which are read when they are indexed."""
    images = open_dataset(str(own_images), "train").images
    assert isinstance(images, StoredImages)
    return images


@pytest.fixture(scope="session")
def labelled_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's file of 300 images with labels."""
    path = tmp_path_factory.mktemp("labelled") / "own.npz"
    images, labels = ae_jax.draw_glyphs(jax.random.key(1), 300)
    np.savez(path, images=np.asarray(images), labels=np.asarray(labels))
    return path


@pytest.fixture(scope="session")
def trained_run(labelled_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains a model on `labelled_images` for an epoch and gives its run directory, the same for equal settings."""

    @functools.cache
    def run(arch: str, **settings: object) -> Path:
        run_dir = tmp_path_factory.mktemp("runs") / arch
        return train(TrainConfig(arch, dataset=str(labelled_images), epochs=1, run_dir=str(run_dir), **settings))

    return run


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a run directory of a fresh model, which costs no training, and gives it, the same for equal settings."""

    @functools.cache
    def run(arch: str, latent_dim: int | None = None, output: str = "sigmoid") -> Path:
        folder = tmp_path_factory.mktemp("untrained")
        model = make_model(arch, latent_dim, output)
        params = ae_jax.create_train_state(model, jax.random.key(0)).params
        save_file(ae_jax.params_to_torch(model, params), folder / "model.safetensors")
        from_torch(str(folder / "model.safetensors"), str(folder / arch), output)
        return folder / arch

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `optimised` and processes that they start compile their programs as users have them."""
    few = _FEW_OPTIMIZATIONS and not item.get_closest_marker("optimised")
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1" if few else "0"
    if few != jax.config.read("jax_disable_most_optimizations"):
        jax.clear_caches()  # programs compiled one way and the other differ in their last bits
        jax.config.update("jax_disable_most_optimizations", few)


# Tests that start processes or run for long come first, so that no worker is left with one at the end; next to each
# other, those that compile with all optimizations.
_LONG = ("test_multihost", "test_notebook", "test_faults", "runs/test_train", "sweep/", "runs/test_quality")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, as some tests wait for processes that they have lost or killed."""
    return num_cores() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> tuple[bool, bool]:
        is_long, optimised = any(name in item.nodeid for name in _LONG), bool(item.get_closest_marker("optimised"))
        return not is_long, optimised == is_long

    items.sort(key=place)
