"""The command: a population trained to its end, through whatever stops it, and what it leaves."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from ae_jax.data.datasets import OpenDataset, find_dataset, open_dataset
from ae_jax.errors import InputError
from ae_jax.runs.checkpoints import read_progress, remove_old_checkpoints, set_aside, write_progress
from ae_jax.runs.loop import explained, follow
from ae_jax.runs.metadata import continued, continued_config, new_record, on_dataset, what_differs
from ae_jax.runs.progress import EpochMetricsOf, MembersProgress
from ae_jax.runs.run import Run
from ae_jax.runs.run_dir import (
    append_metrics,
    default_run_dir,
    held_run_dir,
    new_run_dir,
    refuse_taken,
    rewrite_metrics,
    write_record,
)
from ae_jax.sweep.config import SweepConfig
from ae_jax.sweep.population import Population, initial_states, make_population, make_test_losses, population_mesh
from ae_jax.sweep.results import conclude_sweep
from ae_jax.training.checkpoint import (
    checkpoint_info,
    checkpoint_path,
    checkpoint_step,
    latest_checkpoint,
    list_checkpoints,
)
from ae_jax.types import PathLike

_SCRIPT = "scripts/sweep.py"


def train(config: SweepConfig) -> Path:
    """Train all members as one program, write a folder, report on the terminal; returns the folder.

    Raises:
      InputError: the data cannot be had, or the folder is taken or cannot be written.
      RunError: a file can no longer be written, or all members diverged.
      Interrupted: SIGINT or SIGTERM; the sweep can be continued.
    """
    if config.run_dir:
        refuse_taken(Path(config.run_dir))
    train_set, test_set = _load(config, config.dataset)
    population, states = _make(config, train_set)
    record = new_record(config, (train_set, test_set), population.mesh.devices.flat)
    with new_run_dir(config.run_dir, f"sweep-{config.arch}") as folder, explained(_SCRIPT, folder):
        sweep = Run(folder, config, record, train_set, test_set)
        start = MembersProgress(states, population.no_losses())
        _save(sweep, population, start)
        write_record(folder, record)
        seeds = f"{config.seeds} seed{'s' if config.seeds > 1 else ''}"
        what = f"{len(config.settings)} setting{'s' if len(config.settings) > 1 else ''} × {seeds}"
        print(f"Training {sweep.title}: {what}, on {population.mesh.size} devices, into {folder}")
        _train(sweep, population, start)
        _conclude(sweep)
    return folder


def resume(run_dir: PathLike | None = None, **settings: Any) -> Path:
    """Continue a sweep from its newest sound checkpoint, to the bit as if it had never stopped; returns its folder.

    Args:
      run_dir: the sweep's folder, or None for the one sweep of the model in `runs`.
      settings: fields of `SweepConfig`. More `epochs` extend it, `devices` and the data's folders may be others.

    Raises:
      InputError: there is no sweep or no sound checkpoint, another process is at it, its images are not those that it
        was begun with, or other `settings` are not its own.
      RunError, Interrupted: as for `train`.
    """
    folder = Path(run_dir) if run_dir else default_run_dir(f"sweep-{settings.get('arch', 'conv')}")
    with held_run_dir(folder), explained(_SCRIPT, folder):
        path = latest_checkpoint(folder)
        if path is None or "sweep" not in (info := checkpoint_info(path)):
            raise InputError(f"{folder} holds no sweep to continue; train.py --resume continues single runs.")
        record, done = info["sweep"], tuple(EpochMetricsOf[list[float]](**metrics) for metrics in info["history"])
        config = continued_config(record, settings, SweepConfig)
        train_set, test_set = _load(config, record["dataset_used"])
        record = on_dataset(record, train_set, test_set, folder)
        sweep = Run(folder, config, record, train_set, test_set)
        set_aside(newer for newer in list_checkpoints(folder) if checkpoint_step(newer) > checkpoint_step(path))
        rewrite_metrics(folder, done)
        if len(done) < config.epochs:
            _continue(sweep, path, info)
        else:
            print(f"The sweep in {folder} has had its {config.epochs} epochs; more --epochs extend it.")
        _conclude(sweep)
    return folder


def _load(config: SweepConfig, dataset: str) -> tuple[OpenDataset, OpenDataset]:
    folders = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
    name = find_dataset(dataset, **folders)
    return open_dataset(name, "train", **folders), open_dataset(name, "test", **folders)


def _make(config: SweepConfig, train_set: OpenDataset) -> tuple[Population, Any]:
    members = config.members
    mesh = population_mesh(None if config.devices == "auto" else int(config.devices), len(members))
    return make_population(members, train_set.images, mesh, config.at_once)


def _continue(sweep: Run[SweepConfig], path: Path, info: dict[str, Any]) -> None:
    population, states = _make(sweep.config, sweep.train_set)
    progress, keys = read_progress(path, info, population.fetch(states))
    population = dataclasses.replace(population, shuffle_keys=keys)
    arrays = population.place((progress.state, progress.losses))
    progress = dataclasses.replace(progress, state=arrays[0], losses=arrays[1])
    devices = list(population.mesh.devices.flat)
    if differences := what_differs(sweep.record, devices):
        print(f"With {', '.join(differences)}: the rest may differ in bits from that of an uninterrupted sweep.")
    sweep = dataclasses.replace(sweep, record=continued(sweep.record, sweep.config, progress.step, devices))
    _save(sweep, population, progress)
    write_record(sweep.run_dir, sweep.record)
    print(
        f"Continuing {sweep.title} in {sweep.run_dir} after step {progress.step:,}, epoch {len(progress.history) + 1}"
    )
    _train(sweep, population, progress)


def _train(sweep: Run[SweepConfig], population: Population, start: MembersProgress) -> None:
    test_losses = make_test_losses(population, sweep.test_set.images)

    def save(progress: MembersProgress) -> None:
        _save(sweep, population, progress)
        remove_old_checkpoints(sweep.run_dir, (), sweep.config.keep)

    def report(progress: MembersProgress) -> None:
        metrics = progress.history[-1]
        losses = np.array(metrics.test_loss)
        best = f"best {np.nanmin(losses):.5f}" if np.isfinite(losses).any() else "all diverged"
        speed = f"{metrics.seconds:.1f} s   {metrics.images_per_second:,.0f} images/s"
        tqdm.write(f"epoch {metrics.epoch:3d}   test loss of {len(losses)}: {best}   {speed}")
        append_metrics(sweep.run_dir, metrics)

    save_every = sweep.config.members[0].checkpoint_steps(len(population.sizes))
    follow(population, start, sweep.config.epochs, test_losses, save_every, save, report)


def _save(sweep: Run[SweepConfig], population: Population, progress: MembersProgress) -> None:
    """Write where the sweep is, without the padding: it may go on with other devices."""
    state, losses = population.fetch((progress.state, progress.losses))
    here = dataclasses.replace(progress, state=state, losses=losses)
    path = checkpoint_path(sweep.run_dir, progress.step)
    write_progress(path, here, population.shuffle_keys, {"sweep": sweep.record})


def _conclude(sweep: Run[SweepConfig]) -> None:
    path = latest_checkpoint(sweep.run_dir)
    assert path, "the end has just been saved"
    like = jax.device_get(initial_states(sweep.config.members, len(sweep.train_set.images)))
    progress, keys = read_progress(path, checkpoint_info(path), like)
    conclude_sweep(sweep, dataclasses.replace(progress, state=jax.device_get(progress.state)), keys)
