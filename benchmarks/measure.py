"""Timing of ae_jax, plain flax and PyTorch against the roofline of the machine.

The speed of a shared machine varies: contenders are timed in interleaved rounds (A B A B …), and their minima compared.
"""

import contextlib
import importlib.util
import logging
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ae_jax.choices import Arch
from ae_jax.config import TrainConfig, fast
from ae_jax.data.datasets import find_dataset, load_dataset, open_splits
from ae_jax.errors import InputError, RunError
from ae_jax.runs.setup import step_sizes
from ae_jax.system.cpu import num_cores
from benchmarks.config import BenchmarkConfig
from benchmarks.contenders import BUILDERS, Contender, Task
from benchmarks.convolutions import measure_convolutions
from benchmarks.roofline import Rates
from benchmarks.scaling import measure_scaling

_log = logging.getLogger(__name__)

_TIMED_SECONDS = 0.3  # per measurement, so that the overhead of starting and stopping is negligible
_PROCESS_ROUNDS = 3
_BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
_TARGETS = {"conv": (0.0028, 15), "linear": (0.0335, 30)}  # target test MSE, and the most epochs for PyTorch
_SEEDS = range(10)  # of the recipe
_FIRST_STEP = """
import time
from ae_jax.system.compilation_cache import use_compilation_cache
use_compilation_cache()
from ae_jax.config import TrainConfig
from ae_jax.data.datasets import load_dataset
from ae_jax.runs.program import make_program
import jax
program, state = make_program(TrainConfig(arch="conv"), load_dataset({dataset!r}, "train").images)
jax.block_until_ready(program.run_steps(state, program.no_losses(), program.order(1), 0, 1))
print(time.time())
"""
_TRAIN = Path(__file__).parents[1] / "scripts" / "train.py"


def measure(config: BenchmarkConfig, folder: Path) -> dict[str, Any]:
    """Run the measurements of `config`: `{"machine": …, "conv": {"steps": …, "growth": …}, …}`, times in ms or s.

    Args:
      config: what to measure.
      folder: an empty directory for the files of the measured processes.

    Raises:
      InputError: the dataset is not available, or is not MNIST, for which the target errors are defined.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share the memory of a GPU
    dataset = find_dataset(config.dataset)
    if config.part == "quality" and dataset != "mnist":
        raise InputError(f"--part quality requires mnist, not {dataset}; pass --dataset mnist.")
    num_images = len(load_dataset(dataset, "train").images)
    results: dict[str, Any] = {"dataset": dataset, "images": num_images, "machine": _machine()}
    archs: tuple[Arch, ...] = ("conv", "linear") if config.arch == "both" else (config.arch,)
    for arch in archs:
        parts = results[arch] = {}
        if config.part in ("all", "steps"):
            _log.info("%s: ms per step of each contender", arch)
            parts["steps"] = measure_steps(arch, dataset, config.rounds)
        if config.part in ("all", "growth"):
            _log.info("%s: s per epoch by number of images and by batch size", arch)
            parts["growth"] = measure_growth(arch, dataset, num_images)
        if config.part in ("all", "scaling"):
            _log.info("%s: ms per step by devices, processes, streaming and seeds", arch)
            parts["scaling"] = measure_scaling(arch, dataset, config.rounds)
        if config.part in ("all", "quality") and dataset == "mnist":
            _log.info("%s: training time to the target test MSE", arch)
            parts["quality"] = measure_quality(arch, dataset)
        elif config.part == "all":
            _log.info("%s: skipping the time to the target test MSE, which is defined for mnist only", arch)
    if config.part in ("all", "process") and "conv" in archs:
        _log.info("conv: time of whole processes")
        results["process"] = measure_processes(dataset, min(config.rounds, _PROCESS_ROUNDS), folder)
    if config.part in ("all", "convolutions"):
        _log.info("single convolutions, forward and gradient in a loop")
        results["convolutions"] = measure_convolutions(config.rounds)
    return results


def measure_steps(arch: Arch, dataset: str, rounds: int) -> dict[str, Any]:
    """Measure ms per step at batch size 64 and s per epoch of each contender, and the roofline.

    Returns:
      `{"roofline_ms": …, "contenders": {name: {"min_ms", "median_ms", "epoch_seconds"} or {"missing": reason}}}`.
    """
    config = TrainConfig(arch=arch)
    names = [name for name in BUILDERS if arch == "conv" or "channels" not in name]
    rates = Rates(arch)
    with _contenders({name: (name, Task(config, dataset)) for name in names}) as (running, missing):
        seconds: dict[str, list[float]] = {name: [] for name in running}
        num_steps = {name: _num_steps(contender) for name, contender in running.items()}
        for _ in range(rounds):
            rates.measure()
            for name, contender in running.items():
                seconds[name].append(contender.train(num_steps[name]) / num_steps[name])
        steps_per_epoch = -(-len(load_dataset(dataset, "train").images) // config.batch_size)
        epochs = {name: contender.train(steps_per_epoch) for name, contender in running.items()}
    contenders: dict[str, Any] = {name: {"missing": reason} for name, reason in missing.items()}
    for name, times in seconds.items():
        ms_per_step = {"min_ms": 1e3 * min(times), "median_ms": 1e3 * statistics.median(times)}
        contenders[name] = ms_per_step | {"epoch_seconds": epochs[name]}
    return {
        "roofline_ms": rates.roofline_ms(arch, config.batch_size),
        "gflops_per_second": rates.flops_per_second / 1e9,
        "gbytes_per_second": rates.bytes_per_second / 1e9,
        "contenders": {name: contenders[name] for name in names},
    }


def measure_growth(arch: Arch, dataset: str, num_images: int) -> dict[str, Any]:
    """Measure s per epoch over 1/4, 1/2 and all images at batch size 64, and over all images at other batch sizes."""
    tasks = {f"{n}": Task(TrainConfig(arch=arch), dataset, n) for n in (num_images // 4, num_images // 2, num_images)}
    batches = {f"batch {size}": Task(TrainConfig(arch=arch, batch_size=size), dataset) for size in _BATCH_SIZES}
    best: dict[str, float] = {}
    with _contenders({key: ("ae_jax", task) for key, task in (tasks | batches).items()}) as (running, _):
        for _ in range(5):
            for key, contender in running.items():
                task = (tasks | batches)[key]
                seconds = contender.train(-(-(task.num_images or num_images) // task.config.batch_size))
                best[key] = min(seconds, best.get(key, seconds))
    return {
        "epoch_seconds_by_images": {int(key): best[key] for key in tasks},
        "epoch_seconds_by_batch": {int(key.removeprefix("batch ")): best[key] for key in batches},
    }


def measure_quality(arch: Arch, dataset: str) -> dict[str, Any]:
    """Measure training time to the target test MSE: `--recipe fast` against PyTorch with the tutorial's settings.

    The recipe's time is the minimum over `_SEEDS`, its test MSE the largest; PyTorch's time is its shortest epoch times
    the epochs that it needs.
    """
    target, max_epochs = _TARGETS[arch]
    num_images = len(load_dataset(dataset, "train").images)
    times, errors = [], []
    for seed in _SEEDS:
        recipe = fast(arch, seed=seed)
        with _contenders({"fast": ("ae_jax", Task(recipe, dataset))}) as (running, _):
            times.append(running["fast"].train(recipe.epochs * len(step_sizes(recipe, num_images))))
            errors.append(running["fast"].test_loss())
    result = {"target": target, "fast": {"seconds": min(times), "test_mse": max(errors)}}
    torch_name = "PyTorch channels-last" if arch == "conv" else "PyTorch eager"
    with _contenders({"torch": (torch_name, Task(TrainConfig(arch=arch), dataset))}) as (running, missing):
        if missing:
            return result
        times, mse = [], math.inf
        while mse > target and len(times) < max_epochs:
            times.append(running["torch"].train(-(-num_images // 64)))
            mse = running["torch"].test_loss()
    torch = {"name": torch_name, "seconds": len(times) * min(times), "epochs": len(times), "test_mse": mse}
    return result | {"torch": torch}


def measure_processes(dataset: str, rounds: int, folder: Path) -> dict[str, Any]:
    """Time whole processes: 4 epochs of conv with figures in ae_jax and PyTorch, and the time to the first step.

    Those of ae_jax also "again", when the programs are in the compilation cache.
    """
    times: dict[str, list[float]] = {
        name: [] for name in ("first_step", "first_step_again", "ae_jax", "ae_jax_again", "PyTorch")
    }
    paths = [f"{folder}/{split}.npy" for split in ("train", "test")]
    for path, split in zip(paths, open_splits(dataset), strict=True):
        np.save(path, split.load().images)
    tutorial = [str(Path(__file__).with_name("torch_tutorial.py")), *paths, "4", str(folder)]
    for i in range(rounds):
        for suffix in ("", "_again"):
            start = time.time()
            first_step = _run("-c", _FIRST_STEP.format(dataset=dataset), cache=f"{folder}/cache-{i}")
            times[f"first_step{suffix}"].append(float(first_step) - start)
        for suffix in ("", "_again"):
            start = time.time()
            arguments = ("--epochs", "4", "--dataset", dataset, "--run-dir", f"{folder}/ae_jax-{i}{suffix}")
            _run(str(_TRAIN), *arguments, cache=f"{folder}/cache-run-{i}")
            times[f"ae_jax{suffix}"].append(time.time() - start)
        if importlib.util.find_spec("torch"):
            start = time.time()
            _run(*tutorial)
            times["PyTorch"].append(time.time() - start)
    return {name: {"min": min(runs), "median": statistics.median(runs)} for name, runs in times.items() if runs}


def _run(*arguments: str, cache: str = "") -> str:
    """Run a Python process, whose user's cache directory is `cache`, and return its stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": cache} if cache else {}
    command = [sys.executable, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise RunError(f"a timed process failed: {result.stderr.strip()[-500:]}")
    return result.stdout


@contextlib.contextmanager
def _contenders(tasks: dict[str, tuple[str, Task]]) -> Iterator[tuple[dict[str, Contender], dict[str, str]]]:
    """Start contenders; yield those that built, and the error message of each of the others."""
    missing = {
        key: "PyTorch is not installed"
        for key, (name, _) in tasks.items()
        if name.startswith("PyTorch") and not importlib.util.find_spec("torch")
    }
    contenders = {key: Contender(name, task) for key, (name, task) in tasks.items() if key not in missing}
    try:
        missing |= {key: error for key, contender in contenders.items() if (error := contender.ready()) is not None}
        yield {key: contender for key, contender in contenders.items() if key not in missing}, missing
    finally:
        for contender in contenders.values():
            contender.close()


def _num_steps(contender: Contender) -> int:
    """The number of steps that take about `_TIMED_SECONDS`."""
    return max(1, round(_TIMED_SECONDS / (contender.train(10) / 10)))


def _machine() -> dict[str, Any]:
    device = jax.devices()[0]
    name = f"a CPU with {num_cores()} cores" if device.platform == "cpu" else device.device_kind
    return {"platform": device.platform, "device": name, "versions": _versions()}


def _versions() -> dict[str, str]:
    """The versions of Python and of the measured packages that are installed."""
    found = {"Python": platform.python_version()}
    for package in ("jax", "flax", "optax", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
