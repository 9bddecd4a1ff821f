"""A run's training loop: piece after piece of its epochs, each from all that the rest depends on to the same later."""

import contextlib
import dataclasses
import math
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from ae_jax.errors import DivergedError, RunError
from ae_jax.parallel.multihost import is_first, largest
from ae_jax.runs.progress import EpochMetricsOf, Loss, ProgressOf
from ae_jax.system.signals import Interrupted, deferred
from ae_jax.training.checkpoint import checkpoint_step, list_checkpoints
from ae_jax.training.state import TrainState
from ae_jax.types import AnyLosses, HeldOrder

_PIECE_SECONDS = 0.5  # between two looks at the loss; a signal waits no longer


@runtime_checkable
class Trainable(Protocol):
    """The compiled steps of one run or of a population, as far as the loop needs them."""

    @property
    def sizes(self) -> np.ndarray:
        """`i32[steps]`, images in each batch of an epoch."""

    @property
    def num_images(self) -> int:
        """Seen in an epoch."""

    def check(self, losses: np.ndarray, step: int) -> None:
        """Raise `DivergedError` where one of the losses, of the steps after `step`, is not finite."""

    def order(self, epoch: int) -> HeldOrder:
        """In which epoch 1, 2, … visits the images."""

    def no_losses(self) -> AnyLosses:
        """Room for an epoch's losses."""

    def take_steps(
        self, state: TrainState, losses: AnyLosses, order: HeldOrder, first: int, last: int
    ) -> tuple[TrainState, AnyLosses]:
        """The epoch's steps `first <= i < last`; `state` and `losses` are used up."""


def train_pieces(
    program: Trainable,
    progress: ProgressOf[Loss],
    num_epochs: int,
    test_loss: Callable[[TrainState], Loss],
    stop_every: int,
) -> Iterator[ProgressOf[Loss]]:
    """Train on, and look up after each piece.

    Args:
      program: what a step is.
      progress: where to begin, in the middle of an epoch too.
      num_epochs: when to end.
      test_loss: the mean over all test images, asked after each epoch.
      stop_every: a piece ends after each so many steps of the run, if not sooner; 0: it need not.

    Yields:
      Where the run is after each piece of about `_PIECE_SECONDS`, which never crosses the end of an epoch. How an epoch
      is cut into pieces changes nothing.

    Raises:
      DivergedError: a loss is not finite, of a run; a member of a population that diverges does not disturb the others.
    """
    num_steps, size = len(program.sizes), 1
    for epoch in range(progress.step // num_steps + 1, num_epochs + 1):
        start = time.perf_counter()
        order = program.order(epoch)
        while progress.step < epoch * num_steps:
            stop = (progress.step // stop_every + 1) * stop_every if stop_every else math.inf
            length = int(min(size, epoch * num_steps - progress.step, stop - progress.step))
            first = progress.step % num_steps
            state, losses = program.take_steps(progress.state, progress.losses, order, first, first + length)
            program.check(np.asarray(losses)[..., first : first + length], progress.step)
            seconds = time.perf_counter() - start
            size = largest(max(1, int(length / seconds * _PIECE_SECONDS)))  # the same for all processes
            progress = dataclasses.replace(
                progress, state=state, losses=losses, step=progress.step + length, seconds=progress.seconds + seconds
            )
            if progress.step == epoch * num_steps:
                progress = _end_epoch(program, progress, epoch, test_loss(state))
            yield progress
            start = time.perf_counter()


def _end_epoch(program: Trainable, progress: ProgressOf[Loss], number: int, test_loss: Loss) -> ProgressOf[Loss]:
    program.check(np.asarray(test_loss), progress.step - 1)
    train_loss = np.average(np.asarray(progress.losses), axis=-1, weights=program.sizes).tolist()
    rate = program.num_images / progress.seconds
    epoch = EpochMetricsOf[Loss](number, progress.step, train_loss, test_loss, progress.seconds, rate)
    history: tuple[EpochMetricsOf[Loss], ...] = (*progress.history, epoch)
    return ProgressOf[Loss](progress.state, program.no_losses(), progress.step, 0.0, history)


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
