"""`ae-jax train`: one training run, new or resumed."""

from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from ae_jax.config import TrainConfig
from ae_jax.data.datasets import OpenDataset
from ae_jax.parallel.memory import fits
from ae_jax.parallel.multihost import is_process_0, max_over_processes
from ae_jax.runs import lifecycle
from ae_jax.runs.program import Program, make_program, make_test_loss
from ae_jax.runs.reporting import check_tensorboard, conclude, reporter
from ae_jax.runs.run import Run
from ae_jax.runs.setup import run_mesh
from ae_jax.training.state import TrainState
from ae_jax.types import PathLike


def train(config: TrainConfig) -> Path:
    """Train one run, write its directory, print its metrics; return the directory.

    Raises:
      InputError: the data are unavailable, or the run directory is taken or not writable.
      RunError: a loss is not finite, a file can no longer be written, or another process of the run was lost; the last
        checkpoint is valid.
      Interrupted: SIGINT or SIGTERM; the run can be resumed.
    """
    check_tensorboard(config)
    return lifecycle.start(_RUN, config)


def resume(run_dir: PathLike | None = None, **settings: Any) -> Path:
    """Resume a run from its newest valid checkpoint and return its directory.

    On a CPU it continues bit for bit as if it had never stopped.

    Args:
      run_dir: the run directory, or None for the only run of the model in `runs`.
      settings: fields of `TrainConfig`. More `epochs` extend the run; `devices`, the number of processes, `stream` and
        the path of the user's own `dataset` may change. The data folders are the given ones or the environment's, not
        those that the run was started with.

    Raises:
      InputError: there is no run or no valid checkpoint, another process holds the directory, the images differ from
        those that the run was started with, or other `settings` differ from the run's.
      RunError, Interrupted: as for `train`.
    """
    return lifecycle.resume(_RUN, run_dir, settings)


def _make_program(
    config: TrainConfig, mesh: Mesh, train_set: OpenDataset, test_set: OpenDataset
) -> tuple[Program, TrainState]:
    """Compile the run, streamed if asked for or if the images do not fit the devices of every host."""
    nbytes = train_set.images.nbytes + test_set.images.nbytes
    stream = config.stream or bool(max_over_processes(not fits(nbytes, list(mesh.local_devices))))
    if stream and not config.stream and is_process_0():
        print(f"The images take {nbytes / 2**20:,.0f} MiB per device, more than fits: they are streamed.")
    return make_program(config, train_set.images, mesh, stream=stream)


def _make_test_loss(program: Program, test_set: OpenDataset, state: TrainState) -> Any:
    return make_test_loss(program.mesh, test_set.images, state, stream=program.loader.streams)


def _summary(run: Run[TrainConfig]) -> str:
    validation = f", {len(run.validation_set.images):,} for validation" if run.validation_set else ""
    return f"{len(run.train_set.images):,} images{validation}, {len(run.test_set.images):,} for testing"


_RUN = lifecycle.Kind(
    "record",
    TrainConfig,
    float,
    str,
    run_mesh,
    lambda config, num_images: config.validation,
    _make_program,
    _make_test_loss,
    reporter,
    _summary,
    conclude,
)
