"""Shared fixtures of JAX and ae_jax, strict numerics, and shape checks of the whole package."""

import functools
import gc
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
from safetensors.numpy import save_file

from tests.conftest import ROOT

# Every annotation in the package is checked on every call, except in these modules.
_UNCHECKED = {
    "config": "settings of a wrong type are refused by the dataclass",
    "ops.primitives": "operands may be tracers of a transformation",
    "training.state": "the leaves of a pytree may be anything while it is mapped over",
}
_MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "ae_jax").rglob("*.py")}
_CHECKED = {name for name in _MODULES if not name.endswith("__init__")} - {f"ae_jax.{name}" for name in _UNCHECKED}
jaxtyping.install_import_hook(sorted(_CHECKED), "beartype.beartype")

import jax  # noqa: E402
import numpy as np  # noqa: E402

import ae_jax  # noqa: E402
from ae_jax.config import TrainConfig  # noqa: E402
from ae_jax.exchange.torch import from_torch  # noqa: E402
from ae_jax.models.autoencoders import make_model, param_shapes  # noqa: E402
from ae_jax.runs.train import train  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 8)  # where a test asks for several; what does not takes the first
jax.config.update("jax_default_matmul_precision", "highest")  # on GPUs and TPUs the default is not float32
gc.freeze()
gc.set_threshold(50_000)  # JAX keeps what it traces: looking through it again and again takes 8 % of the time
_FEW_OPTIMIZATIONS = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != "0"


@pytest.fixture(scope="session")
def glyphs_dir(data_dir: Path) -> Path:
    """A data folder that all tests share and that holds glyphs alone."""
    folder = data_dir.with_name(f"{data_dir.name}-glyphs")
    ae_jax.load_dataset("glyphs", "train", data_dir=folder)
    ae_jax.load_dataset("glyphs", "test", data_dir=folder)
    return folder


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
def own_images(tmp_path: Path, digits: np.ndarray) -> Path:
    """A user's file of 300 images."""
    path = tmp_path / "own.npy"
    np.save(path, digits)
    return path


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


def random_parameter(like: jax.ShapeDtypeStruct) -> np.ndarray:
    """Normal numbers, which for a kernel keep the variance of its inputs."""
    std = math.prod(like.shape[:-1]) ** -0.5 if len(like.shape) > 1 else 0.1
    return np.random.default_rng(0).normal(0, std, like.shape).astype(like.dtype)


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a run directory of random parameters, which costs no compilation, the same for equal settings."""

    @functools.cache
    def run(arch: str, latent_dim: int | None = None, output: str = "sigmoid", **settings: object) -> Path:
        folder = tmp_path_factory.mktemp("untrained")
        model = make_model(arch, latent_dim=latent_dim, output=output, **settings)
        params = jax.tree.map(random_parameter, param_shapes(model))
        save_file(ae_jax.params_to_torch(model, params), folder / "model.safetensors")
        from_torch(str(folder / "model.safetensors"), str(folder / arch), output, model.activation)
        return folder / arch

    return run


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked: the package's own errors are seen."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pytest_sessionfinish() -> None:
    """Leave what JAX keeps out of the collections at the end, which would take several seconds."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `optimised` and processes that they start compile their programs as users have them."""
    few = _FEW_OPTIMIZATIONS and not item.get_closest_marker("optimised")
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1" if few else "0"
    if few != jax.config.read("jax_disable_most_optimizations"):
        jax.clear_caches()  # programs compiled one way and the other differ in their last bits
        jax.config.update("jax_disable_most_optimizations", few)
