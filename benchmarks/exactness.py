"""Distance of trained parameters to a float64 run, of ae_jax, `optax.adamw` and PyTorch: `benchmarks.exactness`.

Every contender starts from PyTorch's default initialisation and takes the same AdamW steps (learning rate 1e-3,
decoupled weight decay 1e-5) on the same batches of MNIST. The reference is PyTorch in float64, so that torch is needed:
`python -m benchmarks.exactness`.
"""

import statistics
from collections.abc import Callable, Iterator
from typing import TypeAlias

import jax
import numpy as np
import optax
import torch

import ae_jax
from benchmarks.torch_tutorial import Autoencoder

Arrays: TypeAlias = dict[str, np.ndarray]
Run: TypeAlias = Callable[[str, Arrays, list[np.ndarray]], Iterator[Arrays]]  # arch, initial parameters, batches

_SEEDS = (2026, 3, 5, 7, 11, 13, 17)
_STEPS = (7, 20, 100)
_BATCH_SIZES = (64, 32, 17, 1)


def main() -> None:
    """Print the tables of docs/pytorch.md."""
    images = ae_jax.load_dataset("mnist", "train").images
    print("| | seed | steps | ae_jax | optax.adamw | PyTorch float32 |\n|---|---|---|---|---|---|")
    for arch, seed in (("conv", 2026), ("conv", 3), ("linear", 2026), ("linear", 3)):
        for steps, row in distances(arch, images, seed=seed, batch_size=64, steps=_STEPS).items():
            cells = " | ".join(f"{mean:.1e}, {largest:.1e}" for mean, largest in row.values())
            print(f"| {arch} | {seed} | {steps} | {cells} |")
    print("\n| | batch size | ae_jax / PyTorch | optax.adamw / PyTorch |\n|---|---|---|---|")
    for arch in ("conv", "linear"):
        for batch_size in _BATCH_SIZES:
            rows = [distances(arch, images, seed=seed, batch_size=batch_size, steps=(20,))[20] for seed in _SEEDS]
            medians = {name: statistics.median(row[name][0] for row in rows) for name in rows[0]}
            ours, others, torchs = medians.values()
            print(f"| {arch} | {batch_size} | {ours / torchs:.2f} | {others / torchs:.1f} |")


def distances(
    arch: str, images: np.ndarray, *, seed: int, batch_size: int, steps: tuple[int, ...]
) -> dict[int, dict[str, tuple[float, float]]]:
    """Mean and largest distance of a parameter to the float64 run after some numbers of steps, per contender."""
    torch.manual_seed(seed)
    start = {name: tensor.numpy().copy() for name, tensor in Autoencoder(arch).state_dict().items()}
    rows = np.random.default_rng(seed).permutation(len(images))[: batch_size * max(steps)]
    batches = [np.asarray(ae_jax.normalise(images[rows[i :: max(steps)]])) for i in range(max(steps))]
    runs = {"ae_jax": _ae_jax, "optax.adamw": _optax_adamw, "PyTorch float32": _torch_float32}
    trained = {name: _at(run(arch, start, batches), steps) for name, run in runs.items()}
    exact = _at(_torch(arch, start, batches, torch.float64), steps)
    return {n: {name: _distance(trained[name][n], exact[n]) for name in runs} for n in steps}


def _at(run: Iterator[Arrays], steps: tuple[int, ...]) -> dict[int, Arrays]:
    return {i: params for i, params in enumerate(run, 1) if i in steps}


def _distance(actual: Arrays, expected: Arrays) -> tuple[float, float]:
    errors = np.concatenate([np.abs(actual[name] - expected[name]).ravel() for name in expected])
    return float(errors.mean()), float(errors.max())


def _ae_jax(arch: str, start: Arrays, batches: list[np.ndarray]) -> Iterator[Arrays]:
    return _train(arch, start, batches, None)


def _optax_adamw(arch: str, start: Arrays, batches: list[np.ndarray]) -> Iterator[Arrays]:
    return _train(arch, start, batches, _ADAMW)


def _torch_float32(arch: str, start: Arrays, batches: list[np.ndarray]) -> Iterator[Arrays]:
    return _torch(arch, start, batches, torch.float32)


_ADAMW = optax.adamw(1e-3, weight_decay=1e-5)


def _train(
    arch: str, start: Arrays, batches: list[np.ndarray], tx: optax.GradientTransformation | None
) -> Iterator[Arrays]:
    model = {"conv": ae_jax.ConvAutoencoder(), "linear": ae_jax.LinearAutoencoder()}[arch]
    params = ae_jax.params_from_torch(model, start)
    state = ae_jax.create_train_state(model, jax.random.key(0), params=params, tx=tx)
    for batch in batches:
        state, _ = ae_jax.train_step(state, jax.numpy.asarray(batch))
        yield ae_jax.params_to_torch(model, state.params)


def _torch(arch: str, start: Arrays, batches: list[np.ndarray], dtype: torch.dtype) -> Iterator[Arrays]:
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


if __name__ == "__main__":
    main()
