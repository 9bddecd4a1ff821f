"""Timing of ae_jax, plain flax and PyTorch against the roofline of the machine.

The speed of a shared machine varies: contenders are timed in interleaved rounds (A B A B …), and their minima compared.
"""

import contextlib
import importlib.util
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ae_jax.config import Arch, TrainConfig, fast
from ae_jax.data.datasets import find_dataset, load_dataset, load_splits
from ae_jax.errors import InputError, RunError
from ae_jax.system import num_cores
from benchmarks.contenders import NUM_SEEDS, SWEEP_STEPS, Contender, Table, Task, running
from benchmarks.convolutions import measure_convolutions
from benchmarks.roofline import Rates

STEPS, BATCHES = "{}: steps of 64 images", "{}: epochs of ae_jax by batch size"  # titles
_CONTENDERS = ("ae_jax", "plain flax", "PyTorch eager", "PyTorch compiled")
_CONV_CONTENDERS = ("PyTorch channels-last", "PyTorch channels-last compiled")
_TIMED_SECONDS = 0.3  # per measurement, so that the overhead of starting and stopping is negligible
_PROCESS_ROUNDS = 3
_BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
_TARGETS = {"conv": (0.0028, 15), "linear": (0.0335, 30)}  # target test MSE, and the most epochs for PyTorch
_SEEDS = range(10)  # of the recipe
_FIRST_STEP = """
import time
from ae_jax.system import use_compilation_cache
use_compilation_cache()
from ae_jax.config import TrainConfig
from ae_jax.data.datasets import load_dataset
from benchmarks.contenders import AeJax
AeJax(TrainConfig(), load_dataset({dataset!r}, "train").images).train(1)
print(time.time())
"""
_ROOT = Path(__file__).parents[1]


def measure(
    part: str, archs: Sequence[Arch], dataset: str, rounds: int, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run one part of the measurements, or "all" that apply here; times in ms or s.

    Args:
      part: one of `PARTS`, or "all".
      archs: the models.
      dataset: as for `load_dataset`.
      rounds: timed rounds.
      folder: an empty directory for the files of the measured processes.

    Yields:
      `"machine"` and its description, then the title of each `Table` and the table.

    Raises:
      InputError: the dataset is not available, or is not MNIST, for which the target errors are defined.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share the memory of a GPU
    dataset = find_dataset(dataset)
    if part in ("quality", "exactness") and dataset != "mnist":
        raise InputError(f"--part {part} requires mnist, not {dataset}; pass --dataset mnist.")
    num_images = len(load_dataset(dataset, "train").images)
    yield "machine", {"dataset": dataset, "images": num_images, **machine()}
    for arch in archs:
        if part in ("all", "steps"):
            yield STEPS.format(arch), measure_steps(arch, dataset, rounds)
        if part in ("all", "growth"):
            yield from measure_growth(arch, dataset, num_images)
        if part in ("all", "scaling"):
            yield f"{arch}: steps by devices and seeds", measure_scaling(arch, dataset, rounds)
        if part in ("all", "quality") and dataset == "mnist":
            yield f"{arch}: time to test MSE {_TARGETS[arch][0]}", measure_quality(arch, dataset, num_images)
    if part in ("all", "process"):
        yield "conv: whole processes", measure_processes(dataset, min(rounds, _PROCESS_ROUNDS), folder)
    if part in ("all", "convolutions"):
        yield from measure_convolutions(rounds)
    if part == "exactness":
        from benchmarks.exactness import measure_exactness  # here: it needs PyTorch

        yield from measure_exactness(load_dataset(dataset, "train").images)


def measure_steps(arch: Arch, dataset: str, rounds: int) -> Table:
    """Measure ms per step at batch size 64 of each contender, and the roofline."""
    names, rates = _CONTENDERS + _CONV_CONTENDERS * (arch == "conv"), Rates(arch)
    with running({name: Task(name, TrainConfig(arch=arch), dataset) for name in names}) as (contenders, missing):
        rows = _describe(_ms_per_step(contenders, rounds, before_round=rates.measure))
    rows["roofline"] = {"ms": rates.roofline_ms(64), **rates.describe()}
    for row in rows.values():
        row["relative to ae_jax"] = row["ms"] / rows["ae_jax"]["ms"]
    return rows | missing


def measure_growth(arch: Arch, dataset: str, num_images: int) -> Iterator[tuple[str, Table]]:
    """Measure epochs over 1/4, 1/2 and all images at batch size 64, and over all images at other batch sizes."""
    sizes = {f"{n:,}": (n, 64) for n in (num_images // 4, num_images // 2, num_images)}
    batches = {str(batch_size): (num_images, batch_size) for batch_size in _BATCH_SIZES}
    for title, settings in (("{}: epochs of ae_jax by number of images", sizes), (BATCHES, batches)):
        tasks = {
            key: Task("ae_jax", TrainConfig(arch=arch, batch_size=b), dataset, n) for key, (n, b) in settings.items()
        }
        num_steps = {key: math.ceil(n / batch_size) for key, (n, batch_size) in settings.items()}
        with running(tasks) as (contenders, rows):
            for key, ms in _ms_per_step(contenders, 5, num_steps).items():
                seconds = min(ms) * num_steps[key] / 1e3
                rows[key] = {"s per epoch": seconds, "images/s": settings[key][0] / seconds}
        yield title.format(arch), rows


def measure_scaling(arch: Arch, dataset: str, rounds: int) -> Table:
    """Measure steps on one core, on one and two devices, and of a sweep, with the predictions of a linear cost model.

    A step on `batch` images takes `fixed + batch / devices · image + all_reduce`. `fixed`, mostly the optimizer, and
    `image` are fitted to two batch sizes on one core; the all-reduce is timed alone.
    """

    def task(name: str = "ae_jax", *, one_core: bool = False, batch_size: int = 64, devices: int = 1) -> Task:
        config = TrainConfig(arch=arch, batch_size=batch_size, devices=devices)
        return Task(name, config, dataset, one_core=one_core)

    sweep = f"sweep of {NUM_SEEDS} seeds, per seed"
    tasks = {f"one core, batch {size}": task(one_core=True, batch_size=size) for size in (32, 64)}
    tasks |= {"1 device": task(), "2 devices": task(devices=2), "2 devices, batch 128": task(batch_size=128, devices=2)}
    tasks |= {"all-reduce, 2 devices": task("all-reduce", devices=2), sweep: task("sweep")}
    with running(tasks) as (contenders, missing):
        times = _ms_per_step(contenders, rounds, {sweep: SWEEP_STEPS})
    if sweep in times:
        times[sweep] = [ms / NUM_SEEDS for ms in times[sweep]]
    rows = _describe(times)
    small, large = (rows[f"one core, batch {size}"]["ms"] for size in (32, 64))
    image = (large - small) / 32
    for name, batch in (("2 devices", 64), ("2 devices, batch 128", 128)):
        if name in rows:
            rows[name]["predicted"] = small - 32 * image + batch / 2 * image + rows["all-reduce, 2 devices"]["ms"]
    return {"fixed, one core": {"ms": small - 32 * image}, "per image, one core": {"ms": image}} | rows | missing


def measure_quality(arch: Arch, dataset: str, num_images: int) -> Table:
    """Measure training time to the target test MSE: `--recipe fast` against PyTorch with the tutorial's settings.

    The recipe's time is the minimum over `_SEEDS`, its test MSE the largest; PyTorch's time is its shortest epoch times
    the epochs that it needs.
    """
    seconds, errors = [], []
    for recipe in (fast(arch, seed=seed) for seed in _SEEDS):
        with running({"ae_jax": Task("ae_jax", recipe, dataset)}) as (contenders, _):
            seconds.append(contenders["ae_jax"].train(recipe.epochs * (recipe.steps_per_epoch or 0)))
            errors.append(contenders["ae_jax"].test_loss())
    rows: Table = {"ae_jax, --recipe fast, largest error of ten seeds": {"s": min(seconds), "test MSE": max(errors)}}
    name, (target, max_epochs) = "PyTorch channels-last" if arch == "conv" else "PyTorch eager", _TARGETS[arch]
    with running({name: Task(name, TrainConfig(arch=arch), dataset)}) as (contenders, missing):
        if missing:
            return rows | missing
        epochs: list[float] = []
        mse = math.inf
        while mse > target and len(epochs) < max_epochs:
            epochs.append(contenders[name].train(math.ceil(num_images / 64)))
            mse = contenders[name].test_loss()
    return rows | {f"{name}, {len(epochs)} epochs": {"s": len(epochs) * min(epochs), "test MSE": mse}}


def measure_processes(dataset: str, rounds: int, folder: Path) -> Table:
    """Time whole processes: 4 epochs of conv with figures in ae_jax and PyTorch, and the time to the first step.

    Those of ae_jax also again, when their programs are in the compilation cache.
    """
    paths = [folder / f"{split}.npy" for split in ("train", "test")]
    for path, split in zip(paths, load_splits(dataset), strict=True):
        np.save(path, split.images)
    seconds: dict[str, list[float]] = {}
    for i in range(rounds):
        for suffix in ("", ", programs in the cache"):
            start, cache = time.time(), folder / f"cache-{i}"
            first_step = float(_run("-c", _FIRST_STEP.format(dataset=dataset), cache=cache / "first"))
            seconds.setdefault(f"ae_jax, to the first step{suffix}", []).append(first_step - start)
            start, run_dir = time.time(), folder / f"run-{i}{suffix}"
            _run(_ROOT / "scripts" / "train.py", "--epochs", 4, "--dataset", dataset, "--run-dir", run_dir, cache=cache)
            seconds.setdefault(f"ae_jax, 4 epochs with figures{suffix}", []).append(time.time() - start)
        if importlib.util.find_spec("torch"):
            start = time.time()
            _run(_ROOT / "benchmarks" / "torch_tutorial.py", *paths, 4, folder)
            seconds.setdefault("PyTorch, 4 epochs with figures", []).append(time.time() - start)
    return {name: {"s": min(runs), "median": statistics.median(runs)} for name, runs in sorted(seconds.items())}


def _run(*arguments: Any, cache: Path | None = None) -> str:
    """Run a Python process, whose user's cache directory is `cache`, and return its stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(cache)} if cache else {}
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=_ROOT)
    if result.returncode:
        raise RunError(f"a timed process failed: {result.stderr.strip()[-500:]}")
    return result.stdout


def _ms_per_step(
    contenders: Mapping[str, Contender],
    rounds: int,
    num_steps: Mapping[str, int] | None = None,
    *,
    before_round: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Time the contenders in turn, each over as many steps as given, or as take about `_TIMED_SECONDS`."""
    counts = {key: (num_steps or {}).get(key) or _count_steps(contender) for key, contender in contenders.items()}
    times: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in range(rounds):
        before_round()
        for key, contender in contenders.items():
            times[key].append(1e3 * contender.train(counts[key]) / counts[key])
    return times


def _count_steps(contender: Contender) -> int:
    return max(1, round(_TIMED_SECONDS / (contender.train(10) / 10)))


def _describe(times: Mapping[str, list[float]]) -> Table:
    return {key: {"ms": min(ms), "median": statistics.median(ms)} for key, ms in times.items()}


def machine() -> dict[str, Any]:
    """The device, and the versions of Python and of the measured packages that are installed."""
    device = jax.devices()[0]
    name = f"a CPU with {num_cores()} cores" if device.platform == "cpu" else device.device_kind
    versions = {"Python": platform.python_version()}
    for package in ("jax", "flax", "optax", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {"device": name, "versions": versions}
