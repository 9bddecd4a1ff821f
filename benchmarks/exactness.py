"""Distance of trained parameters to a float64 run, of ae_jax, `optax.adamw` and PyTorch, which is needed here.

Every contender starts from PyTorch's default initialisation and takes the same AdamW steps (learning rate 1e-3,
decoupled weight decay 1e-5) on the same batches. The reference is PyTorch in float64.
"""

import statistics
from collections.abc import Iterator
from typing import TypeAlias

import jax
import numpy as np
import optax
import torch

import ae_jax
from ae_jax.config import Arch
from ae_jax.models.autoencoders import make_model
from benchmarks.contenders import Table
from benchmarks.torch_tutorial import Autoencoder

Arrays: TypeAlias = dict[str, np.ndarray]

_ADAMW = optax.adamw(1e-3, weight_decay=1e-5)
_SEEDS = (2026, 3, 5, 7, 11, 13, 17)
_STEPS = (7, 20, 100)
_BATCH_SIZES = (64, 32, 17, 1)


def measure_exactness(images: np.ndarray) -> Iterator[tuple[str, Table]]:
    """Measure the tables of docs/pytorch.md on images `u8[n, 28, 28, 1]`."""
    rows: Table = {}
    runs: list[tuple[Arch, int]] = [("conv", 2026), ("conv", 3), ("linear", 2026), ("linear", 3)]
    for arch, seed in runs:
        for steps, row in distances(arch, images, seed=seed, batch_size=64, steps=_STEPS).items():
            cells = {name: f"{mean:.1e}, {largest:.1e}" for name, (mean, largest) in row.items()}
            rows[f"{arch}, seed {seed}, {steps} steps"] = cells
    yield "mean and largest distance of a parameter to float64", rows
    rows = {}
    for arch, _ in runs[::2]:
        for batch_size in _BATCH_SIZES:
            ends = [distances(arch, images, seed=seed, batch_size=batch_size, steps=(20,))[20] for seed in _SEEDS]
            ours, others, torchs = (statistics.median(end[name][0] for end in ends) for name in ends[0])
            ratios = {"ae_jax / PyTorch": ours / torchs, "optax.adamw / PyTorch": others / torchs}
            rows[f"{arch}, batch size {batch_size}"] = ratios
    yield "mean distance after 20 steps, median of seven seeds", rows


def distances(
    arch: Arch, images: np.ndarray, *, seed: int, batch_size: int, steps: tuple[int, ...]
) -> dict[int, dict[str, tuple[float, float]]]:
    """Mean and largest distance of a parameter to the float64 run after some numbers of steps, per contender."""
    torch.manual_seed(seed)
    start = {name: tensor.numpy().copy() for name, tensor in Autoencoder(arch).state_dict().items()}
    rows = np.random.default_rng(seed).permutation(len(images))[: batch_size * max(steps)]
    batches = [np.asarray(ae_jax.to_float(images[rows[i :: max(steps)]])) for i in range(max(steps))]
    runs = {
        "ae_jax": _train(arch, start, batches, None),
        "optax.adamw": _train(arch, start, batches, _ADAMW),
        "PyTorch float32": _train_torch(arch, start, batches, torch.float32),
        "float64": _train_torch(arch, start, batches, torch.float64),
    }
    params = {name: {i: each for i, each in enumerate(run, 1) if i in steps} for name, run in runs.items()}
    exact = params.pop("float64")
    return {n: {name: _distance(each[n], exact[n]) for name, each in params.items()} for n in steps}


def _distance(actual: Arrays, expected: Arrays) -> tuple[float, float]:
    errors = np.concatenate([np.abs(actual[name] - expected[name]).ravel() for name in expected])
    return float(errors.mean()), float(errors.max())


def _train(
    arch: Arch, start: Arrays, batches: list[np.ndarray], tx: optax.GradientTransformation | None
) -> Iterator[Arrays]:
    model = make_model(arch)
    params = ae_jax.params_from_torch(model, start)
    state = ae_jax.create_train_state(model, jax.random.key(0), params=params, tx=tx)
    for batch in batches:
        state, _ = ae_jax.train_step(state, batch)
        yield ae_jax.params_to_torch(model, state.params)


def _train_torch(arch: Arch, start: Arrays, batches: list[np.ndarray], dtype: torch.dtype) -> Iterator[Arrays]:
    model = Autoencoder(arch).to(dtype)
    model.load_state_dict({name: torch.from_numpy(array).to(dtype) for name, array in start.items()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5)
    for batch in batches:
        x = torch.from_numpy(batch.copy()).to(dtype)
        x = x.flatten(1) if arch == "linear" else x.movedim(-1, 1).contiguous()
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), x).backward()
        optimizer.step()
        yield {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
