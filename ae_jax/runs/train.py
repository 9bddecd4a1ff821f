"""One training run: the only place where data, steps, files, signals and the terminal meet."""

import contextlib
import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from ae_jax.config import TrainConfig
from ae_jax.data.datasets import OpenDataset, find_dataset, open_dataset
from ae_jax.errors import InputError
from ae_jax.parallel.memory import fits
from ae_jax.parallel.mesh import ask_for_cpu_devices, num_cores
from ae_jax.parallel.multihost import facts_from_first, is_first, largest, together
from ae_jax.runs.checkpoints import load_imported, load_progress, remove_old_checkpoints, save_progress, set_aside
from ae_jax.runs.loop import explained, follow
from ae_jax.runs.metadata import (
    Record,
    continued,
    continued_config,
    is_untrained,
    new_record,
    on_dataset,
    what_differs,
)
from ae_jax.runs.program import Program, make_program, make_test_loss, run_mesh
from ae_jax.runs.progress import EpochMetrics, Progress
from ae_jax.runs.reporting import conclude, reporter
from ae_jax.runs.run import Run
from ae_jax.runs.run_dir import (
    default_run_dir,
    held_run_dir,
    new_run_dir,
    refuse_taken,
    rewrite_metrics,
    write_record,
)
from ae_jax.training.checkpoint import checkpoint_info, checkpoint_step, latest_checkpoint, list_checkpoints
from ae_jax.types import PathLike

_SCRIPT = "scripts/train.py"


def train(config: TrainConfig) -> Path:
    """Train as `config` says, write a run directory, report on the terminal; returns the directory.

    Raises:
      InputError: the data cannot be had, or the run directory is taken or cannot be written.
      RunError: a loss is not finite, a file can no longer be written, or another process of the run was lost; the last
        checkpoint is sound.
      Interrupted: SIGINT or SIGTERM; the run can be continued.
    """
    with _together(vars(config)):
        mesh = run_mesh(config)
        if config.run_dir and is_first():
            refuse_taken(Path(config.run_dir))
        _require_installed(config)
        train_set, test_set = _load(config, config.dataset)
        stream = _has_to_stream(config, mesh, (train_set, test_set))
        program, state = make_program(config, train_set.images, mesh, stream=stream)
        record = _agreed(new_record(config, (train_set, test_set), mesh.devices.flat))
        with _of_first(lambda: new_run_dir(config.run_dir, config.arch)) as run_dir, explained(_SCRIPT, run_dir):
            run = Run(run_dir, config, record, train_set, test_set)
            progress = Progress(state, program.no_losses())
            _save(run, program, progress)
            sizes = f"{len(train_set.images):,} images, {len(test_set.images):,} for testing"
            _say(f"Training {run.title}: {sizes}, into {run_dir}")
            _conclude(run, _train(run, program, progress))
    return run_dir


def resume(run_dir: PathLike | None = None, **settings: Any) -> Path:
    """Continue a run from its newest sound checkpoint, to the bit as if it had never stopped; returns its directory.

    Args:
      run_dir: the run's directory, or None for the one run of the model in `runs`.
      settings: fields of `TrainConfig`. More `epochs` extend the run; `devices`, the number of processes, `stream` and
        the data's folders may be others.

    Raises:
      InputError: there is no run or no sound checkpoint, another process is at it, its images are not those that it
        was begun with, or other `settings` are not the run's.
      RunError, Interrupted: as for `train`.
    """
    with _together(settings), _of_first(lambda: _held(run_dir, settings)) as folder:
        path = latest_checkpoint(folder) if is_first() else None
        if is_first() and path is None:
            raise InputError(f"{folder} holds no checkpoint to continue from; start a new run.")
        info = facts_from_first(path and checkpoint_info(path))
        if "sweep" in info:
            raise InputError(f"{folder} is a sweep; continue it with python scripts/sweep.py.")
        record, done = info["record"], tuple(EpochMetrics(**metrics) for metrics in info["history"])
        config = continued_config(record, settings, TrainConfig)
        _require_installed(config)
        train_set, test_set = _load(config, record["dataset_used"] or config.dataset)
        is_new = is_untrained(record)
        record = on_dataset(record, train_set, test_set, folder)
        run = Run(folder, config, record, train_set, test_set)
        with explained(_SCRIPT, folder):
            if path:
                newer = (other for other in list_checkpoints(folder) if checkpoint_step(other) > checkpoint_step(path))
                set_aside(newer)
                rewrite_metrics(folder, done)
            if len(done) < config.epochs:
                done = _continue(run, functools.partial(load_imported if is_new else load_progress, path, info))
            else:
                _say(f"The run in {folder} has had its {config.epochs} epochs; more --epochs extend it.")
            _conclude(run, done)
    return folder


def _together(settings: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Meet the run's other processes, as the settings say."""
    coordinator, num_processes, process_id = map(settings.get, ("coordinator", "num_processes", "process_id"))
    distributed = bool(settings.get("distributed") or coordinator)
    if distributed:  # they talk before they know the run's settings, and from then on JAX has the devices that it has
        ask_for_cpu_devices(max(num_cores(), TrainConfig(devices=settings.get("devices", "auto")).num_devices or 1))
    return together(distributed, coordinator, num_processes, process_id)


@contextlib.contextmanager
def _of_first(folder: Callable[[], contextlib.AbstractContextManager[Path]]) -> Iterator[Path]:
    """A folder that the first process holds, and the others only know the name of."""
    with folder() if is_first() else contextlib.nullcontext() as path:
        yield Path(facts_from_first(str(path)))


@contextlib.contextmanager
def _held(run_dir: PathLike | None, settings: Mapping[str, Any]) -> Iterator[Path]:
    folder = Path(run_dir) if run_dir else default_run_dir(settings.get("arch", "conv"))
    with held_run_dir(folder):
        yield folder


def _require_installed(config: TrainConfig) -> None:
    if config.tensorboard and not importlib.util.find_spec("tensorboardX"):
        raise InputError('--tensorboard wants a package that is not installed: pip install "ae_jax[tensorboard]".')


def _load(config: TrainConfig, dataset: str) -> tuple[OpenDataset, OpenDataset]:
    """Training and test images; where they have to be prepared, the first process has done it when the others look."""
    folders = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
    name = facts_from_first(find_dataset(dataset, **folders) if is_first() else None)
    if not is_first():
        largest(0)
    datasets = open_dataset(name, "train", **folders), open_dataset(name, "test", **folders)
    if is_first():
        largest(0)
    return datasets


def _has_to_stream(config: TrainConfig, mesh: Mesh, datasets: Iterable[OpenDataset]) -> bool:
    """Whether the images are fed chunk by chunk, on all hosts if one cannot hold them."""
    nbytes = sum(dataset.images.nbytes for dataset in datasets)
    if config.stream or not largest(not fits(nbytes, list(mesh.local_devices))):
        return config.stream
    _say(f"The images take {nbytes / 2**20:,.0f} MiB on each device, more than fits: they are streamed.")
    return True


def _agreed(record: Record) -> Record:
    """The first process's record; the others have to have the same images."""
    first = facts_from_first(record)
    if first["dataset_sha256"] != record["dataset_sha256"]:
        raise InputError(f"{record['dataset_used']} holds other images here than in process 0; give all the same.")
    return first


def _continue(run: Run[TrainConfig], load: Callable[..., tuple[Program, Progress]]) -> tuple[EpochMetrics, ...]:
    mesh = run_mesh(run.config)
    stream = _has_to_stream(run.config, mesh, (run.train_set, run.test_set))
    program, progress = load(*make_program(run.config, run.train_set.images, mesh, stream=stream))
    devices = list(mesh.devices.flat)
    if differences := what_differs(run.record, devices):
        _say(f"With {', '.join(differences)}: the rest may differ in bits from that of an uninterrupted run.")
    is_longer = run.config.epochs > run.record["config"]["epochs"]
    if is_longer and (run.config.schedule != "constant" or run.config.warmup):
        _say(f"The learning rate's schedule is now that of a run of {run.config.epochs} epochs.")
    run = dataclasses.replace(run, record=continued(run.record, run.config, progress.step, devices))
    _save(run, program, progress)  # more epochs are part of the run from here on
    _say(f"Continuing {run.title} in {run.run_dir} after step {progress.step:,}, epoch {len(progress.history) + 1}")
    return _train(run, program, progress)


def _train(run: Run[TrainConfig], program: Program, start: Progress) -> tuple[EpochMetrics, ...]:
    """Train to the end, report and save on the way; returns the metrics of all epochs."""
    config, streamed = run.config, program.feeding.streamed
    test_loss = make_test_loss(program.mesh, run.test_set.images, start.state, stream=streamed)

    def save(progress: Progress) -> None:
        save_progress(run.run_dir, program, progress, run.record)
        remove_old_checkpoints(run.run_dir, progress.history, config.keep)

    save_every = config.checkpoint_steps(len(program.sizes))
    with reporter(run, start.step) as report:
        return follow(program, start, config.epochs, test_loss, save_every, save, report)


def _save(run: Run[TrainConfig], program: Program, progress: Progress) -> None:
    """Write where a run begins or goes on, and its settings."""
    if is_first():
        save_progress(run.run_dir, program, progress, run.record)
        write_record(run.run_dir, run.record)


def _conclude(run: Run[TrainConfig], history: tuple[EpochMetrics, ...]) -> None:
    if is_first():
        conclude(run, history)


def _say(text: str) -> None:
    if is_first():
        print(text)
