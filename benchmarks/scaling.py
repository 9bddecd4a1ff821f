"""Scaling over devices, processes, streaming and seeds, measured and predicted by a linear cost model.

A step on `batch` images takes `fixed + batch / devices · image + all_reduce`. `fixed`, mostly the optimizer, and
`image` are fitted to two batch sizes on one core; the all-reduce is timed alone.
"""

import socket
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ae_jax.choices import Arch
from ae_jax.config import TrainConfig
from benchmarks.contenders import NUM_SEEDS, Contender, Task

_BATCH = 64
_ONE_CORE_BATCHES = (32, 64)  # to fit the cost model
_LARGE_BATCH = 128
_SWEEP = f"sweep of {NUM_SEEDS} seeds, per seed"
_TIMED_SECONDS = 0.5


class Configuration:
    """A configuration to time: one contender, or the processes of one distributed run."""

    def __init__(self, *contenders: Contender) -> None:
        self._contenders = contenders
        self._threads = ThreadPoolExecutor(len(contenders))

    def ready(self) -> str | None:
        """Wait for all contenders; return the first error message of a failed build, or None."""
        errors = [contender.ready() for contender in self._contenders]
        return next((error for error in errors if error), None)

    def train(self, num_steps: int) -> float:
        """Run the next steps of all contenders and return the time of the slowest one in seconds."""
        return max(self._threads.map(lambda contender: contender.train(num_steps), self._contenders))

    def close(self) -> None:
        """End the processes; all disconnect first, since distributed processes exit together."""
        for contender in self._contenders:
            contender.disconnect()
        for contender in self._contenders:
            contender.close()
        self._threads.shutdown()


def measure_scaling(arch: Arch, dataset: str, rounds: int) -> dict[str, Any]:
    """Measure ms per step of each configuration, with the prediction of the cost model where there is one.

    Returns:
      `{"image_us", "fixed_ms", "configurations": {name: {"min_ms", "median_ms", "predicted_ms"?} or {"missing"}}}`.
    """
    configurations = dict(_configurations(arch, dataset))
    try:
        missing = {name: error for name, each in configurations.items() if (error := each.ready()) is not None}
        running = {name: each for name, each in configurations.items() if name not in missing}
        num_steps = {name: round(_TIMED_SECONDS / (each.train(10) / 10)) for name, each in running.items()}
        num_steps = {name: min(max(n, 1), 100) for name, n in num_steps.items()}  # `SweepTrainer` stays in one epoch
        times: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(rounds):
            for name, each in running.items():
                times[name].append(1e3 * each.train(num_steps[name]) / num_steps[name])
    finally:
        for each in configurations.values():
            each.close()
    results: dict[str, dict[str, Any]] = {name: {"missing": error} for name, error in missing.items()}
    results |= {name: {"min_ms": min(ms), "median_ms": statistics.median(ms)} for name, ms in times.items()}
    return _add_predictions(results)


def _configurations(arch: Arch, dataset: str) -> Iterator[tuple[str, Configuration]]:
    def make(name: str = "ae_jax", *, one_core: bool = False, processes: int = 1, **settings: Any) -> Configuration:
        config = {"arch": arch, "batch_size": _BATCH, **settings}
        address = {"coordinator": f"127.0.0.1:{_free_port()}", "num_processes": processes}
        distributed = [address | {"process_id": i} if processes > 1 else {} for i in range(processes)]
        tasks = [Task(TrainConfig(**config | flags), dataset, None, one_core) for flags in distributed]
        return Configuration(*(Contender(name, task) for task in tasks))

    for batch_size in _ONE_CORE_BATCHES:
        yield f"one core, batch {batch_size}", make(devices=1, one_core=True, batch_size=batch_size)
    yield "1 device", make(devices=1)
    yield "1 device, streamed", make(devices=1, stream=True)
    yield "2 devices", make(devices=2)
    yield f"2 devices, batch {_LARGE_BATCH}", make(devices=2, batch_size=_LARGE_BATCH)
    yield "2 processes of 1 device", make(devices=1, processes=2)
    yield _SWEEP, make("sweep")
    yield "all-reduce, 2 devices", make("all-reduce", devices=2)
    yield "all-reduce, 2 processes", make("all-reduce", devices=1, processes=2)


def _add_predictions(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    seeds = results[_SWEEP]
    seeds.update({name: seeds[name] / NUM_SEEDS for name in ("min_ms", "median_ms") if name in seeds})
    small, large = (results[f"one core, batch {size}"].get("min_ms") for size in _ONE_CORE_BATCHES)
    if small is None or large is None:
        return {"configurations": results}
    image = (large - small) / (_ONE_CORE_BATCHES[1] - _ONE_CORE_BATCHES[0])
    fixed = small - _ONE_CORE_BATCHES[0] * image
    for name, batch, all_reduce in (
        ("2 devices", _BATCH, "all-reduce, 2 devices"),
        (f"2 devices, batch {_LARGE_BATCH}", _LARGE_BATCH, "all-reduce, 2 devices"),
        ("2 processes of 1 device", _BATCH, "all-reduce, 2 processes"),
    ):
        if "min_ms" in results[name] and "min_ms" in results[all_reduce]:
            results[name]["predicted_ms"] = fixed + batch / 2 * image + results[all_reduce]["min_ms"]
    return {"image_us": 1e3 * image, "fixed_ms": fixed, "configurations": results}


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
