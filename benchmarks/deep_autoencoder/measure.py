"""The runs of the benchmark, and what is printed of them."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ae_jax.metrics.pca import pca_mse
from benchmarks.deep_autoencoder.definitions import DEFINITIONS
from benchmarks.deep_autoencoder.report import compare, make_table
from benchmarks.deep_autoencoder.task import (
    LATENT_DIM,
    NUM_PIXELS,
    NUM_STEPS,
    Run,
    Split,
    load_split,
    squared_error,
    train,
)
from benchmarks.measure import machine
from benchmarks.report import describe, format_table

_STORED_RESULTS = Path(__file__).with_name("results.json")  # of the entries here; without it they are not shown


def tune(entries: Mapping[str, ModuleType]) -> None:
    """Print the validation error of each of the entries' `TRIALS`, with seed 0; test images are not looked at."""
    split = load_split()
    for name, entry in entries.items():
        for settings in entry.TRIALS:
            run = _train(entry, split, 0, NUM_STEPS, settings)
            print(f"{name} {settings}: {run.errors[-1]:.3f} after {run.seconds[-1]:.0f} s", flush=True)


def run_all(
    entries: Mapping[str, ModuleType], num_seeds: int, num_steps: int, definition: str | None
) -> dict[str, Any]:
    """Train each entry with several seeds; print their table, for runs of the task's length with the stored results."""
    split = load_split()
    pca = NUM_PIXELS * pca_mse(np.concatenate([split.train, split.validation]), np.asarray(split.test), LATENT_DIM)
    print(f"PCA with {LATENT_DIM} components, squared error per test image: {pca:.3f}", flush=True)
    if definition:
        print(f"{definition}: {DEFINITIONS[definition].text}; {DEFINITIONS[definition].source}")
    results = {}
    for name, entry in entries.items():
        runs = []
        for seed in range(num_seeds):
            runs.append(_train(entry, split, seed, num_steps))
            print(f"{name}, seed {seed}: {runs[-1].errors[-1]:.3f} after {runs[-1].seconds[-1]:.0f} s", flush=True)
        results[name] = _result(runs, split)
        if definition:
            numbers = DEFINITIONS[definition].numbers(runs[0].params, split)
            print(f"{name} as {definition}: {', '.join(f'{key} {value:.5g}' for key, value in numbers.items())}")
    stored: dict[str, Any] = {"entries": {}}
    if num_steps == NUM_STEPS and _STORED_RESULTS.exists():
        stored = json.loads(_STORED_RESULTS.read_text())
        print(f"\nStored results are of {describe(stored['machine'])}")
    everything = stored["entries"] | results
    print(f"\n{format_table('entry', make_table(everything))}")
    for name in results:
        if line := compare(name, everything):
            print(line)
    return {"machine": machine(), "entries": results}


def _result(runs: list[Run], split: Split) -> dict[str, Any]:
    """The measurements of an entry by seed, as JSON types."""
    return {
        "errors": [run.errors.round(4).tolist() for run in runs],
        "seconds": [run.seconds.round(2).tolist() for run in runs],
        "test": [round(squared_error(run.params, split.test), 4) for run in runs],
    }


def _train(entry: ModuleType, split: Split, seed: int, num_steps: int, settings: Any = None) -> Run:
    make_optimizer = functools.partial(entry.make_optimizer, **(settings or {}))
    eval_params = getattr(entry, "eval_params", None)
    return train(make_optimizer, split, seed, eval_params=eval_params, num_steps=num_steps)
