"""Lifecycle of a run or a sweep: start, resume, train, save, report."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic

from jax.sharding import Mesh

from ae_jax.choices import Arch
from ae_jax.config import TrainConfig
from ae_jax.data.datasets import OpenDataset, find_dataset, hold_out, is_array_file, open_splits
from ae_jax.errors import InputError
from ae_jax.parallel.mesh import request_cpu_devices
from ae_jax.parallel.multihost import broadcast_json, is_process_0, join_processes, max_over_processes
from ae_jax.runs.checkpoint_files import (
    checkpoint_step,
    latest_checkpoint,
    list_checkpoints,
    quarantine,
    remove_old_checkpoints,
)
from ae_jax.runs.checkpoints import RunProgram, load_imported, load_progress, save_progress
from ae_jax.runs.loop import train_loop
from ae_jax.runs.metadata import (
    Config,
    Metadata,
    check_metadata,
    config_from_metadata,
    environment_changes,
    is_untrained,
    new_metadata,
    resumed_config,
    resumed_metadata,
    with_dataset,
)
from ae_jax.runs.progress import EpochMetricsOf, Loss, ProgressOf, parse_history
from ae_jax.runs.resume_hint import add_resume_hint, hint_before_exit
from ae_jax.runs.run import Run
from ae_jax.runs.run_dir import (
    check_run_dir_is_free,
    default_run_dir,
    held_run_dir,
    new_run_dir,
    rewrite_metrics,
    write_metadata,
)
from ae_jax.system.cpu import num_cores
from ae_jax.system.invocation import invocation
from ae_jax.training.checkpoint import checkpoint_info
from ae_jax.training.state import TrainState
from ae_jax.types import PathLike

# Metadata key in a checkpoint -> (what the directory holds, the command that resumes it).
_KINDS = {"record": ("a single run", "train"), "sweep": ("a sweep", "sweep")}
Report = Callable[[ProgressOf[Loss]], None]


@dataclasses.dataclass(frozen=True)
class Kind(Generic[Config, Loss]):
    """The differences between single runs and sweeps."""

    metadata_key: str  # of the metadata in a checkpoint: "record" or "sweep"
    config_class: type[Config]
    loss_type: Any  # `Loss` as a type
    name: Callable[[Arch], str]  # of the default directory in runs/
    make_mesh: Callable[[Config], Mesh]
    num_validation: Callable[[Config, int], int]  # to hold out of so many training images
    make_program: Callable[[Config, Mesh, OpenDataset, OpenDataset], tuple[RunProgram, TrainState]]
    make_test_loss: Callable[[Any, OpenDataset, TrainState], Callable[[TrainState], Loss]]
    reporter: Callable[[Run[Config], int], AbstractContextManager[Report[Loss]]]  # for a run after so many steps
    summary: Callable[[Run[Config]], str]  # of what is about to be trained
    conclude: Callable[[Run[Config], tuple[EpochMetricsOf[Loss], ...]], None]

    @property
    def command(self) -> str:
        """The command that trains and resumes this kind."""
        return _KINDS[self.metadata_key][1]


def start(kind: Kind[Config, Loss], config: Config) -> Path:
    """Train a new run and return its directory; errors as for `ae_jax.runs.train.train`."""
    with _distributed(vars(config)):
        mesh = kind.make_mesh(config)
        if config.run_dir and is_process_0():
            check_run_dir_is_free(Path(config.run_dir))
        train_set, test_set = _open_datasets(config, config.dataset)
        metadata = _check_same_dataset(new_metadata(config, (train_set, test_set), mesh.devices.flat))
        train_set, validation_set = hold_out(train_set, kind.num_validation(config, len(train_set.images)))
        program, state = kind.make_program(config, mesh, train_set, test_set)
        with (
            _dir_of_process_0(lambda: new_run_dir(config.run_dir, kind.name(config.arch))) as run_dir,
            hint_before_exit(kind.command, run_dir, vars(config)),
            add_resume_hint(kind.command, run_dir, vars(config)),
        ):
            run = Run(run_dir, config, metadata, train_set, test_set, validation_set)
            progress = ProgressOf[Loss](state, program.no_losses())
            _save(kind, run, program, progress)
            _print(f"Training {run.title}: {kind.summary(run)}, into {run_dir}")
            _conclude(kind, run, _train(kind, run, program, progress))
    return run_dir


def resume(kind: Kind[Config, Loss], run_dir: PathLike | None, settings: Mapping[str, Any]) -> Path:
    """Resume a run and return its directory; arguments and errors as for `ae_jax.runs.train.resume`."""
    with (
        _distributed(settings),
        _dir_of_process_0(lambda: _held_dir(kind, run_dir, settings)) as folder,
        hint_before_exit(kind.command, folder, settings),
    ):
        path = latest_checkpoint(folder) if is_process_0() else None
        if is_process_0() and path is None:
            raise InputError(f"{folder} holds no checkpoint to resume from; start a new run.")
        info = broadcast_json(path and checkpoint_info(path))
        if kind.metadata_key not in info:
            for found, command in (_KINDS[key] for key in _KINDS.keys() & info.keys()):
                raise InputError(f"{folder} holds {found}; resume it with {invocation(command)}.")
            raise InputError(f"{folder} holds a state without a run's settings; read it with ae_jax.load_checkpoint.")
        metadata = check_metadata(info[kind.metadata_key], folder)
        history = parse_history(info, kind.loss_type, folder)
        config = dataclasses.replace(resumed_config(metadata, settings, kind.config_class), run_dir=str(folder))
        mesh = kind.make_mesh(config) if len(history) < config.epochs else None  # before anything else uses JAX
        train_set, test_set = _open_datasets(config, _resumed_dataset(metadata, config))
        checked = with_dataset(metadata, train_set, test_set, folder)
        train_set, validation_set = hold_out(train_set, kind.num_validation(config, len(train_set.images)))
        run = Run(folder, config, checked, train_set, test_set, validation_set)
        with add_resume_hint(kind.command, folder, settings):
            if path:
                quarantine(each for each in list_checkpoints(folder) if checkpoint_step(each) > checkpoint_step(path))
                rewrite_metrics(folder, history)
            if mesh:
                load = load_imported if is_untrained(metadata) else load_progress
                program, progress = load(path, info, *kind.make_program(config, mesh, train_set, test_set))
                planned_epochs = config_from_metadata(metadata, kind.config_class).epochs
                history = _resume_training(kind, run, program, progress, planned_epochs)
            else:
                _print(f"{folder} already finished its {config.epochs} epochs; pass a larger --epochs to extend it.")
            _conclude(kind, run, history)
    return folder


def _resume_training(
    kind: Kind[Config, Loss], run: Run[Config], program: RunProgram, progress: ProgressOf[Loss], planned_epochs: int
) -> tuple[EpochMetricsOf[Loss], ...]:
    devices = list(program.mesh.devices.flat)
    if changes := environment_changes(run.metadata, devices):
        _print(f"With {', '.join(changes)}: the rest may differ in bits from that of an uninterrupted run.")
    if run.config.epochs > planned_epochs and (run.config.schedule != "constant" or run.config.warmup):
        _print(f"The learning-rate schedule is now that of a run of {run.config.epochs} epochs.")
    metadata = resumed_metadata(run.metadata, run.config, progress.step, devices)
    run = dataclasses.replace(run, metadata=metadata)
    _save(kind, run, program, progress)  # from here on, a larger --epochs is part of the run
    epoch = len(progress.history) + 1
    _print(f"Resuming {run.title} in {run.run_dir} after step {progress.step:,}, epoch {epoch}")
    return _train(kind, run, program, progress)


def _train(
    kind: Kind[Config, Loss], run: Run[Config], program: RunProgram, progress: ProgressOf[Loss]
) -> tuple[EpochMetricsOf[Loss], ...]:
    """Train to the end, with reports and checkpoints, and return the metrics of all epochs."""
    sets = {"test_loss": run.test_set, "validation_loss": run.validation_set}
    losses = {name: kind.make_test_loss(program, each, progress.state) for name, each in sets.items() if each}

    def evaluate(state: TrainState) -> dict[str, Loss]:
        return {name: loss(state) for name, loss in losses.items()}

    def save(progress: ProgressOf[Loss]) -> None:
        save_progress(run.run_dir, program, progress, {kind.metadata_key: run.metadata})
        remove_old_checkpoints(run.run_dir, progress.history, run.config.keep)

    save_every = run.config.checkpoint_every.in_steps(len(program.sizes))
    with kind.reporter(run, progress.step) as report:
        return train_loop(program, progress, run.config.epochs, evaluate, save_every, save, report)


def _save(kind: Kind[Config, Loss], run: Run[Config], program: RunProgram, progress: ProgressOf[Loss]) -> None:
    """Write the checkpoint and the settings with which a run starts or resumes."""
    if is_process_0():
        save_progress(run.run_dir, program, progress, {kind.metadata_key: run.metadata})
        write_metadata(run.run_dir, run.metadata)


def _conclude(kind: Kind[Config, Loss], run: Run[Config], history: tuple[EpochMetricsOf[Loss], ...]) -> None:
    if is_process_0():
        kind.conclude(run, history)


def _distributed(settings: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Join the other processes of the run, if the settings name any."""
    coordinator, num_processes, process_id = map(settings.get, ("coordinator", "num_processes", "process_id"))
    distributed = bool(settings.get("distributed") or coordinator)
    if distributed:  # joining fixes the number of JAX devices, before the settings of a resumed run are known
        devices = TrainConfig(devices=settings.get("devices", "auto")).devices
        request_cpu_devices(max(num_cores(), 1 if devices == "auto" else devices))
    return join_processes(distributed, coordinator, num_processes, process_id)


@contextlib.contextmanager
def _dir_of_process_0(folder: Callable[[], AbstractContextManager[Path]]) -> Iterator[Path]:
    """The directory that process 0 holds; the other processes only know its path."""
    with folder() if is_process_0() else contextlib.nullcontext() as path:
        yield Path(broadcast_json(str(path)))


@contextlib.contextmanager
def _held_dir(kind: Kind[Any, Any], run_dir: PathLike | None, settings: Mapping[str, Any]) -> Iterator[Path]:
    folder = Path(run_dir) if run_dir else default_run_dir(kind.name(settings.get("arch", "conv")))
    with held_run_dir(folder):
        yield folder


def _open_datasets(config: Config, dataset: str) -> tuple[OpenDataset, OpenDataset]:
    """Training and test images, prepared by process 0 before the others open them."""
    folders = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
    name = broadcast_json(find_dataset(dataset, **folders) if is_process_0() else None)
    if not is_process_0():
        max_over_processes(0)  # waits
    datasets = open_splits(name, **folders)
    if is_process_0():
        max_over_processes(0)
    return datasets


def _resumed_dataset(metadata: Metadata, config: Config) -> str:
    """The dataset that "auto" stood for when the run started; a file is where the settings say."""
    return config.dataset if is_array_file(config.dataset) else metadata["dataset_used"] or config.dataset


def _check_same_dataset(metadata: Metadata) -> Metadata:
    """Process 0's metadata, after a check that all processes have the same images."""
    first = broadcast_json(metadata)
    if first["dataset_sha256"] != metadata["dataset_sha256"]:
        raise InputError(
            f"{metadata['dataset_used']} differs between this process and process 0; give all processes the same files."
        )
    return first


def _print(text: str) -> None:
    if is_process_0():
        print(text)
