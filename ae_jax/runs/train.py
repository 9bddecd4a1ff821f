"""`ae-jax train`: one training run, new or resumed, epoch by epoch."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm

from ae_jax.config import TrainConfig
from ae_jax.errors import DivergedError, InputError
from ae_jax.parallel.mesh import join_processes, only_process_0_prints
from ae_jax.parallel.steps import Program, compile_evaluate, compile_program, replicate
from ae_jax.runs.metadata import environment_changes, resumed_config, run_metadata
from ae_jax.runs.report import check_tensorboard, conclude, progress_bar, reporter
from ae_jax.runs.run_dir import EpochMetrics, History, Run, default_run_dir, open_run
from ae_jax.runs.setup import Splits, epoch_key, evaluation_loss, initial_state, load_data, run_loss, run_mesh
from ae_jax.training.checkpoint import Checkpoint, read_latest_checkpoint
from ae_jax.training.state import TrainState
from ae_jax.types import PathLike

_Evaluations: TypeAlias = Mapping[str, Callable[[TrainState], dict[str, float]]]  # of "test" and, if any, "validation"


def train(config: TrainConfig, start: Checkpoint | None = None) -> Path:
    """Train one run, or resume it at `start`; write its directory, print its metrics; return the directory.

    Raises:
      InputError: the data are unavailable, or the run directory is taken or not writable.
      RunError: a loss is not finite, a file can no longer be written, or another process of the run was lost; the last
        checkpoint is valid.
    """
    check_tensorboard(config)
    with join_processes(config.distributed):
        mesh, data = run_mesh(config), load_data(config, config.validation)
        with only_process_0_prints(), open_run(config, data, mesh, start) as run:
            state, history = _restore(config, data, start)
            state = replicate(mesh, state)
            run.begin(state, history)
            _announce(run, data, history)
            num_steps, loss = config.steps_per_epoch, run_loss(config)
            program = compile_program(mesh, data.train.images, state, config.batch_size, num_steps, loss)
            sets, measured = {"test": data.test, "validation": data.validation}, evaluation_loss(config)
            evaluations = {
                name: compile_evaluate(mesh, each.images, state, measured) for name, each in sets.items() if each
            }
            with reporter(run, data.test, history) as report, progress_bar(config, program, history) as bar:
                for epoch in range(len(history) + 1, config.epochs + 1):
                    state, metrics = _train_epoch(config, program, state, epoch, evaluations, bar)
                    history = (*history, metrics)
                    report(state, history)
                    if epoch == config.epochs or (config.checkpoint_every and epoch % config.checkpoint_every == 0):
                        run.save(state, history)
            conclude(run, data, history)
    return run.path


def resume(run_dir: PathLike | None = None, **settings: Any) -> Path:
    """Resume a run from its newest valid checkpoint, bit for bit on a CPU, and return its directory.

    Args:
      run_dir: the run directory, or None for the only run of the model in `runs`.
      settings: fields of `TrainConfig` that `resumed_config` allows. The data folders are the given ones or the
        environment's, not those that the run was started with.

    Raises:
      InputError: there is no run or no valid checkpoint, another process holds the directory, the images differ from
        those that the run was started with, or other `settings` differ from the run's.
      RunError: as for `train`.
    """
    folder = Path(run_dir) if run_dir else default_run_dir(settings.get("arch", "conv"))
    start = read_latest_checkpoint(folder)
    if start is None:
        raise InputError(f"{folder} holds no run to resume; leave out `resume` to start one there.")
    return train(resumed_config(run_metadata(start), {**settings, "run_dir": str(folder)}), start)


def _restore(config: TrainConfig, data: Splits, start: Checkpoint | None) -> tuple[TrainState, History]:
    """The initial state, or that of a checkpoint, and the history that belongs to it."""
    images = data.train.images
    if start is None:
        return initial_state(config, images), ()
    if start.step == 0:  # the parameters alone: those of an import may be trained with any optimizer
        return initial_state(config, images, start.params), ()
    try:
        history = tuple(EpochMetrics(**each) for each in start.info["history"])
        return start.restore(initial_state(config, images)), history
    except ValueError as error:
        raise InputError(f"{error}; the run's config.json has the versions that it was started with.") from error


def _announce(run: Run, data: Splits, history: History) -> None:
    """Print what is about to be trained."""
    if not run.metadata["resumed"]:
        validation = f"{len(data.validation.images):,} for validation, " if data.validation else ""
        images = f"{len(data.train.images):,} images, {validation}{len(data.test.images):,} for testing"
        print(f"Training {run.title}: {images}, into {run.path}")
    elif len(history) == run.config.epochs:
        print(f"{run.path} already finished its {len(history)} epochs; give a larger number of epochs to extend it.")
    else:
        print(f"Resuming {run.title} in {run.path} at epoch {len(history) + 1}")
        if changes := environment_changes(run.metadata):
            print(f"With {', '.join(changes)}: the rest may differ in bits from that of an uninterrupted run.")


def _train_epoch(
    config: TrainConfig, program: Program, state: TrainState, epoch: int, evaluations: _Evaluations, bar: tqdm
) -> tuple[TrainState, EpochMetrics]:
    """Train an epoch and measure it; raises `DivergedError` if a loss is not finite."""
    bar.set_description(f"epoch {epoch}/{config.epochs}", refresh=False)
    num_steps, start, done = len(program.sizes), time.perf_counter(), 0
    step = epoch * num_steps
    for segment in program.train_epoch(state, epoch_key(config, epoch)):
        state, step_metrics, last = segment
        losses = step_metrics["loss"]
        _check_finite(losses[done:last], step - num_steps + done)
        bar.set_postfix(loss=f"{losses[max(0, last - 100) : last].mean():.5f}", refresh=False)
        bar.update(int(program.sizes[done:last].sum()))
        done = last
    seconds = time.perf_counter() - start
    train_loss = float(np.average(losses, weights=program.sizes))
    metrics = {name: evaluate(state) for name, evaluate in evaluations.items()}
    measured = {f"{name}_{kind}": value for name, each in metrics.items() for kind, value in each.items()}
    _check_finite(np.array(list(measured.values())), step - 1)
    rate = int(program.sizes.sum()) / seconds
    return state, EpochMetrics(epoch, step, train_loss, seconds=seconds, images_per_second=rate, **measured)


def _check_finite(losses: np.ndarray, step: int) -> None:
    """Raise `DivergedError` unless the losses of the steps after `step` are finite."""
    is_finite = np.isfinite(losses)
    if not is_finite.all():
        raise DivergedError(f"the loss is not finite at step {step + int(is_finite.argmin()) + 1:,}")
