"""One training run: the only place where data, steps, files, signals and the terminal meet."""

import contextlib
import dataclasses
import functools
import importlib.util
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ae_jax.checkpoint import PathLike, checkpoint_info, checkpoint_step, latest_checkpoint, list_checkpoints
from ae_jax.config import TrainConfig
from ae_jax.data import Dataset, find_dataset, load_dataset
from ae_jax.errors import InputError, RunError
from ae_jax.interrupts import Interrupted, deferred
from ae_jax.loop import EpochMetrics, Progress, train_pieces
from ae_jax.parallel import make_evaluate, replicate
from ae_jax.program import Program, make_program
from ae_jax.record import (
    continued,
    continued_config,
    is_untrained,
    new_record,
    on_dataset,
    what_differs,
)
from ae_jax.report import Run, conclude, reporter
from ae_jax.run_checkpoints import load_imported, load_progress, remove_old_checkpoints, save_progress, set_aside
from ae_jax.run_dir import (
    default_run_dir,
    held_run_dir,
    new_run_dir,
    refuse_taken,
    rewrite_metrics,
    write_record,
)
from ae_jax.state import TrainState

_EVALUATION_BATCH = 64


def train(config: TrainConfig) -> Path:
    """Train as `config` says, write a run directory, report on the terminal; returns the directory.

    Raises:
      InputError: the data cannot be had, or the run directory is taken or cannot be written.
      RunError: a loss is not finite, or a file can no longer be written; the last checkpoint is sound.
      Interrupted: SIGINT or SIGTERM; the run can be continued.
    """
    if config.run_dir:
        refuse_taken(Path(config.run_dir))
    _require_installed(config)
    train_set, test_set = _load(config, config.dataset)
    program, state = make_program(config, train_set.images)
    record = new_record(config, (train_set, test_set), program.mesh.devices.flat)
    with new_run_dir(config) as run_dir, _explained(run_dir):
        run = Run(run_dir, config, record, train_set, test_set)
        progress = Progress(state, program.no_losses())
        save_progress(run_dir, program, progress, record)
        write_record(run_dir, record)
        sizes = f"{len(train_set.images):,} images, {len(test_set.images):,} for testing"
        print(f"Training {run.title}: {sizes}, into {run_dir}")
        conclude(run, _train(run, program, progress))
    return run_dir


def resume(run_dir: PathLike | None = None, **settings: Any) -> Path:
    """Continue a run from its newest sound checkpoint, to the bit as if it had never stopped; returns its directory.

    Args:
      run_dir: the run's directory, or None for the one run of the model in `runs`.
      settings: fields of `TrainConfig`. More `epochs` extend the run, `devices` and the data's folders may be others.

    Raises:
      InputError: there is no run or no sound checkpoint, another process is at it, its images are not those that it
        was begun with, or other `settings` are not the run's.
      RunError, Interrupted: as for `train`.
    """
    run_dir = Path(run_dir) if run_dir else default_run_dir(settings.get("arch", "conv"))
    with held_run_dir(run_dir):
        path = latest_checkpoint(run_dir)
        if path is None:
            raise InputError(f"{run_dir} holds no checkpoint to continue from; start a new run.")
        info = checkpoint_info(path)
        record, done = info["record"], tuple(EpochMetrics(**metrics) for metrics in info["history"])
        config = continued_config(record, settings)
        _require_installed(config)
        train_set, test_set = _load(config, record["dataset_used"] or config.dataset)
        load = load_imported if is_untrained(record) else load_progress
        record = on_dataset(record, train_set, test_set, run_dir)
        run = Run(run_dir, config, record, train_set, test_set)
        with _explained(run_dir):
            set_aside(newer for newer in list_checkpoints(run_dir) if checkpoint_step(newer) > checkpoint_step(path))
            rewrite_metrics(run_dir, done)
            if len(done) < config.epochs:
                done = _continue(run, functools.partial(load, path))
            else:
                print(f"The run in {run_dir} has had its {config.epochs} epochs; more --epochs extend it.")
            conclude(run, done)
    return run_dir


def _require_installed(config: TrainConfig) -> None:
    if config.tensorboard and not importlib.util.find_spec("tensorboardX"):
        raise InputError('--tensorboard wants a package that is not installed: pip install "ae_jax[tensorboard]".')


def _load(config: TrainConfig, dataset: str) -> tuple[Dataset, Dataset]:
    folders = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
    name = find_dataset(dataset, **folders)
    return load_dataset(name, "train", **folders), load_dataset(name, "test", **folders)


def _continue(run: Run, load: Callable[..., tuple[Program, Progress]]) -> tuple[EpochMetrics, ...]:
    program, fresh = make_program(run.config, run.train_set.images)
    program, progress = load(program, fresh)
    devices = list(program.mesh.devices.flat)
    if differences := what_differs(run.record, devices):
        print(f"With {', '.join(differences)}: the rest may differ in bits from that of an uninterrupted run.")
    is_longer = run.config.epochs > run.record["config"]["epochs"]
    if is_longer and (run.config.schedule != "constant" or run.config.warmup):
        print(f"The learning rate's schedule is now that of a run of {run.config.epochs} epochs.")
    record = continued(run.record, run.config, progress.step, devices)
    run = dataclasses.replace(run, record=record)
    save_progress(run.run_dir, program, progress, record)  # more epochs are part of the run from here on
    write_record(run.run_dir, record)
    print(f"Continuing {run.title} in {run.run_dir} after step {progress.step:,}, epoch {len(progress.history) + 1}")
    return _train(run, program, progress)


def _train(run: Run, program: Program, start: Progress) -> tuple[EpochMetrics, ...]:
    """Train to the end, report and save on the way; returns the metrics of all epochs."""
    config, num_images = run.config, len(program.images)
    evaluate = make_evaluate(program.mesh, min(_EVALUATION_BATCH, len(run.test_set.images)))
    test_images = replicate(program.mesh, run.test_set.images)
    last_step, save_every = config.epochs * len(program.sizes), config.checkpoint_steps(len(program.sizes))

    def test_loss(state: TrainState) -> float:
        return float(evaluate(state, test_images))

    bar = _bar(config.epochs * num_images, _images_seen(start, program))
    with deferred() as noted, bar, reporter(run, start.step) as report:
        for progress in train_pieces(program, start, config.epochs, test_loss, save_every):
            bar.update(_images_seen(progress, program) - bar.n)
            epoch = min(len(progress.history) + 1, config.epochs)
            bar.set_description(f"epoch {epoch}/{config.epochs}", refresh=False)
            at_epoch_end = progress.step % len(program.sizes) == 0
            if at_epoch_end:
                report(progress)
            else:
                steps = np.asarray(progress.losses)[: progress.step % len(program.sizes)]
                bar.set_postfix(loss=f"{steps[-100:].mean():.5f}", refresh=False)
            due = save_every and progress.step % save_every == 0
            if due or progress.step == last_step or noted():
                save_progress(run.run_dir, program, progress, run.record)
                remove_old_checkpoints(run.run_dir, progress.history, config.keep)
            if signum := noted():
                raise Interrupted(signum)
    return progress.history


def _bar(total: int, done: int) -> tqdm:
    return tqdm(total=total, initial=done, unit=" images", unit_scale=True, disable=None, leave=False)


def _images_seen(progress: Progress, program: Program) -> int:
    epochs, steps = divmod(progress.step, len(program.sizes))
    return epochs * len(program.images) + int(program.sizes[:steps].sum())


@contextlib.contextmanager
def _explained(run_dir: Path) -> Iterator[None]:
    """What stops a run says where it stands and how to go on."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(error.signum, f" {_how_to_continue(run_dir)}") from error
    except RunError as error:
        last = max(list_checkpoints(run_dir), key=checkpoint_step)
        raise RunError(
            f"{error}; start a new run with a smaller --learning-rate. The last good checkpoint is {last}."
        ) from error
    except OSError as error:
        what = error.filename or "the output"
        raise RunError(f"{what} cannot be written ({error.strerror}). {_how_to_continue(run_dir)}") from error


def _how_to_continue(run_dir: Path) -> str:
    if not list_checkpoints(run_dir):
        return "The run had not begun; start it again."
    return f"Continue with: python scripts/train.py --run-dir {shlex.quote(str(run_dir))} --resume"
