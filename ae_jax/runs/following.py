"""A training under way: its bar, its reports, its checkpoints, and what becomes of it when a signal comes."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ae_jax.errors import DivergedError, RunError
from ae_jax.parallel.multihost import is_first, largest
from ae_jax.runs.loop import Trainable, train_pieces
from ae_jax.runs.progress import EpochMetricsOf, Loss, ProgressOf
from ae_jax.system.signals import Interrupted, deferred
from ae_jax.training.checkpoint import checkpoint_step, list_checkpoints
from ae_jax.training.state import TrainState


def follow(
    program: Trainable,
    start: ProgressOf[Loss],
    num_epochs: int,
    test_loss: Callable[[TrainState], Loss],
    save_every: int,
    save: Callable[[ProgressOf[Loss]], None],
    report: Callable[[ProgressOf[Loss]], None],
) -> tuple[EpochMetricsOf[Loss], ...]:
    """Train to the end; returns the metrics of all epochs. Of several processes the first reports and saves.

    Args:
      program: what a step is.
      start: where to begin.
      num_epochs: when to end.
      test_loss: the mean over all test images.
      save_every: `save` is called after so many steps, 0 for never, at the end, and before a signal is obeyed.
      save: writes a checkpoint.
      report: told when an epoch has ended, before it is saved.

    Raises:
      DivergedError: a run's loss is not finite.
      Interrupted: SIGINT or SIGTERM; it has been saved.
    """
    last_step, progress = num_epochs * len(program.sizes), start
    with deferred() as noted, _bar(num_epochs * program.num_images, _images_seen(program, start)) as bar:
        for progress in train_pieces(program, start, num_epochs, test_loss, save_every):
            signum = largest(noted() or 0)  # heard by one process, it ends all
            if is_first():
                _show(bar, program, progress, num_epochs)
                if progress.step % len(program.sizes) == 0:
                    report(progress)
                if (save_every and progress.step % save_every == 0) or progress.step == last_step or signum:
                    save(progress)
            if signum:
                raise Interrupted(signum)
    return progress.history


@contextlib.contextmanager
def explained(script: str, run_dir: Path) -> Iterator[None]:
    """What stops a training says where it stands and how to go on."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(error.signum, f" {_how_to_continue(script, run_dir)}") from error
    except DivergedError as error:
        last = max(list_checkpoints(run_dir), key=checkpoint_step, default="not here")
        raise RunError(
            f"{error}; start a new run with a smaller --learning-rate. The last good checkpoint is {last}."
        ) from error
    except OSError as error:
        what = error.filename or "the output"
        raise RunError(f"{what} cannot be written ({error.strerror}). {_how_to_continue(script, run_dir)}") from error


def _how_to_continue(script: str, run_dir: Path) -> str:
    if not list_checkpoints(run_dir):
        return "The run had not begun; start it again."
    return f"Continue with: python {script} --run-dir {shlex.quote(str(run_dir))} --resume"


def _bar(total: int, done: int) -> tqdm:
    """On a terminal, and of the first process."""
    hide = None if is_first() else True
    return tqdm(total=total, initial=done, unit=" images", unit_scale=True, disable=hide, leave=False)


def _show(bar: tqdm, program: Trainable, progress: ProgressOf[Loss], num_epochs: int) -> None:
    """Show how far it is."""
    bar.update(_images_seen(program, progress) - bar.n)
    bar.set_description(f"epoch {min(len(progress.history) + 1, num_epochs)}/{num_epochs}", refresh=False)
    if steps := progress.step % len(program.sizes):
        loss = np.asarray(progress.losses)[..., :steps][..., -100:].mean()
        bar.set_postfix(loss=f"{loss:.5f}", refresh=False)


def _images_seen(program: Trainable, progress: ProgressOf[Loss]) -> int:
    epochs, steps = divmod(progress.step, len(program.sizes))
    share = program.sizes[:steps].sum() / program.sizes.sum()
    return round((epochs + share) * program.num_images)
