"""`ae-jax sweep`: many runs trained as one program, new or resumed."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from ae_jax.data.datasets import OpenDataset
from ae_jax.runs import lifecycle
from ae_jax.runs.checkpoint_files import latest_checkpoint
from ae_jax.runs.checkpoints import read_progress
from ae_jax.runs.progress import EpochMetricsOf, MembersProgress
from ae_jax.runs.run import Run
from ae_jax.runs.run_dir import append_metrics
from ae_jax.sweep.config import SweepConfig
from ae_jax.sweep.population import Population, initial_states, make_population, make_test_losses, population_mesh
from ae_jax.sweep.results import conclude_sweep
from ae_jax.training.checkpoint import checkpoint_info
from ae_jax.training.state import TrainState
from ae_jax.types import PathLike


def train(config: SweepConfig) -> Path:
    """Train all members as one program, write the sweep's directory, print its metrics; return the directory.

    Raises:
      InputError: the data are unavailable, or the directory is taken or not writable.
      RunError: a file can no longer be written, or all members diverged.
      Interrupted: SIGINT or SIGTERM; the sweep can be resumed.
    """
    return lifecycle.start(_SWEEP, config)


def resume(run_dir: PathLike | None = None, **settings: Any) -> Path:
    """Resume a sweep from its newest valid checkpoint and return its directory.

    On a CPU it continues bit for bit as if it had never stopped.

    Args:
      run_dir: the sweep's directory, or None for the only sweep of the model in `runs`.
      settings: fields of `SweepConfig`. More `epochs` extend it; `devices` may change, and the data folders are those
        given or the environment's.

    Raises:
      InputError: there is no sweep or no valid checkpoint, another process holds the directory, the images differ from
        those that the sweep was started with, or other `settings` differ from the sweep's.
      RunError, Interrupted: as for `train`.
    """
    return lifecycle.resume(_SWEEP, run_dir, settings)


def _make_mesh(config: SweepConfig) -> Mesh:
    return population_mesh(config.devices, len(config.members))


def _num_validation(config: SweepConfig, num_images: int) -> int:
    if config.validation is not None:
        return config.validation
    return 5000 if num_images >= 50_000 else num_images // 10


def _make_program(
    config: SweepConfig, mesh: Mesh, train_set: OpenDataset, test_set: OpenDataset
) -> tuple[Population, TrainState]:
    return make_population(config.members, train_set.images, mesh, config.at_once)


def _make_test_loss(
    population: Population, test_set: OpenDataset, states: TrainState
) -> Callable[[TrainState], list[float]]:
    return make_test_losses(population, test_set.images, states)


@contextlib.contextmanager
def _reporter(sweep: Run[SweepConfig], step: int) -> Iterator[Callable[[MembersProgress], None]]:
    def report(progress: MembersProgress) -> None:
        metrics = progress.history[-1]
        name = "test" if metrics.validation_loss is None else "validation"
        losses = np.array(metrics.test_loss if metrics.validation_loss is None else metrics.validation_loss)
        best = f"best {np.nanmin(losses):.5f}" if np.isfinite(losses).any() else "all diverged"
        speed = f"{metrics.seconds:.1f} s   {metrics.images_per_second:,.0f} images/s"
        tqdm.write(f"epoch {metrics.epoch:3d}   {name} loss of {len(losses)}: {best}   {speed}")
        append_metrics(sweep.run_dir, metrics)

    yield report


def _summary(sweep: Run[SweepConfig]) -> str:
    config = sweep.config
    seeds = f"{config.seeds} seed{'s' if config.seeds > 1 else ''}"
    settings = f"{len(config.settings)} setting{'s' if len(config.settings) > 1 else ''}"
    return f"{settings} × {seeds}, on {len(sweep.metadata['devices_used'])} devices"


def _conclude(sweep: Run[SweepConfig], history: tuple[EpochMetricsOf[list[float]], ...]) -> None:
    path = latest_checkpoint(sweep.run_dir)
    assert path, "the last checkpoint has just been saved"
    like = jax.device_get(initial_states(sweep.config.members, sweep.train_set.images))
    progress, keys = read_progress(path, checkpoint_info(path), like)
    conclude_sweep(sweep, dataclasses.replace(progress, state=jax.device_get(progress.state)), keys)


_SWEEP = lifecycle.Kind(
    "sweep",
    SweepConfig,
    list[float],
    "sweep-{}".format,
    _make_mesh,
    _num_validation,
    _make_program,
    _make_test_loss,
    _reporter,
    _summary,
    _conclude,
)
