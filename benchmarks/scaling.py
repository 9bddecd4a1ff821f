"""What devices, processes, streaming and populations make of a step, and what a simple model of it predicts.

A step on `batch` images shared by `devices` takes `fixed + batch / devices · image + all_reduce`. `fixed`, mostly the
optimizer, and `image` come from two batch sizes on one core, the all-reduce is timed alone.
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
_BATCHES_ON_ONE_CORE = (32, 64)
_LARGE_BATCH = 128
_CHUNK_SECONDS = 0.5


class Way:
    """A way of running, of one process or two that work in step."""

    def __init__(self, *contenders: Contender) -> None:
        self._contenders = contenders
        self._threads = ThreadPoolExecutor(len(contenders))

    def ready(self) -> str | None:
        """As `Contender.ready`, of all."""
        problems = [contender.ready() for contender in self._contenders]
        return next((problem for problem in problems if problem), None)

    def train(self, num_steps: int) -> float:
        """Seconds until all have taken their next steps."""
        return max(self._threads.map(lambda contender: contender.train(num_steps), self._contenders))

    def close(self) -> None:
        """End the processes, which part from each other first."""
        for contender in self._contenders:
            contender.dismiss()
        for contender in self._contenders:
            contender.close()
        self._threads.shutdown()


def measure_scaling(arch: Arch, dataset: str, rounds: int) -> dict[str, Any]:
    """Milliseconds a step of each way in turn, and what the model says of it, where it does.

    Returns:
      `{"image_us": …, "fixed_ms": …, "ways": {name: {"min_ms", "median_ms", "predicted_ms"?} or {"missing": why}}}`.
    """
    ways = dict(_ways(arch, dataset))
    try:
        missing = {name: problem for name, way in ways.items() if (problem := way.ready()) is not None}
        running = {name: way for name, way in ways.items() if name not in missing}
        chunks = {name: max(1, round(_CHUNK_SECONDS / (way.train(10) / 10))) for name, way in running.items()}
        chunks = {name: min(chunk, 100) for name, chunk in chunks.items()}  # a population stays within an epoch
        times: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(rounds):
            for name, way in running.items():
                times[name].append(1e3 * way.train(chunks[name]) / chunks[name])
    finally:
        for way in ways.values():
            way.close()
    figures: dict[str, dict[str, Any]] = {name: {"missing": problem} for name, problem in missing.items()}
    figures |= {name: {"min_ms": min(each), "median_ms": statistics.median(each)} for name, each in times.items()}
    return _predict(figures)


def _ways(arch: Arch, dataset: str) -> Iterator[tuple[str, Way]]:
    def way(name: str = "ae_jax", *, one_core: bool = False, processes: int = 1, **settings: Any) -> Way:
        config = {"arch": arch, "batch_size": _BATCH, **settings}
        address = {"coordinator": f"127.0.0.1:{_free_port()}", "num_processes": processes}
        shared = [address | {"process_id": i} if processes > 1 else {} for i in range(processes)]
        return Way(*(Contender(name, Task(TrainConfig(**config | own), dataset, None, one_core)) for own in shared))

    for batch_size in _BATCHES_ON_ONE_CORE:
        yield f"one core, batch {batch_size}", way(devices="1", one_core=True, batch_size=batch_size)
    yield "1 device", way(devices="1")
    yield "1 device, streamed", way(devices="1", stream=True)
    yield "2 devices", way(devices="2")
    yield f"2 devices, batch {_LARGE_BATCH}", way(devices="2", batch_size=_LARGE_BATCH)
    yield "2 processes of 1 device", way(devices="1", processes=2)
    yield "8 seeds together, each", way("population")
    yield "all-reduce, 2 devices", way("all-reduce", devices="2")
    yield "all-reduce, 2 processes", way("all-reduce", devices="1", processes=2)


def _predict(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    seeds = figures["8 seeds together, each"]
    seeds.update({name: seeds[name] / NUM_SEEDS for name in ("min_ms", "median_ms") if name in seeds})
    small, large = (figures[f"one core, batch {size}"].get("min_ms") for size in _BATCHES_ON_ONE_CORE)
    if small is None or large is None:
        return {"ways": figures}
    image = (large - small) / (_BATCHES_ON_ONE_CORE[1] - _BATCHES_ON_ONE_CORE[0])
    fixed = small - _BATCHES_ON_ONE_CORE[0] * image
    for name, batch, sums in (
        ("2 devices", _BATCH, "all-reduce, 2 devices"),
        (f"2 devices, batch {_LARGE_BATCH}", _LARGE_BATCH, "all-reduce, 2 devices"),
        ("2 processes of 1 device", _BATCH, "all-reduce, 2 processes"),
    ):
        if "min_ms" in figures[name] and "min_ms" in figures[sums]:
            figures[name]["predicted_ms"] = fixed + batch / 2 * image + figures[sums]["min_ms"]
    return {"image_us": 1e3 * image, "fixed_ms": fixed, "ways": figures}


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
