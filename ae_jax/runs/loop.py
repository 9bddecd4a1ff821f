"""The training loop: trains in segments of about 0.5 s, with progress bar, reports, checkpoints and signals."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from ae_jax.parallel.multihost import is_process_0, max_over_processes
from ae_jax.runs.progress import EpochMetricsOf, Loss, ProgressOf
from ae_jax.system.signals import Interrupted, deferred
from ae_jax.training.state import TrainState
from ae_jax.types import AnyLosses, PlacedOrder

_SEGMENT_SECONDS = 0.5  # between two checks of the loss and of signals


@runtime_checkable  # the tests check arguments against it
class Trainable(Protocol):
    """The program of a run or of a population, as far as the loop needs it."""

    @property
    def sizes(self) -> np.ndarray:
        """`i32[steps]`, images in each batch of an epoch."""

    @property
    def num_images(self) -> int:
        """Images per epoch."""

    def check(self, losses: np.ndarray, step: int) -> None:
        """Raise `DivergedError` if the losses of the steps after `step` must end the run."""

    def order(self, epoch: int) -> PlacedOrder:
        """The order in which epoch 1, 2, … visits the images."""

    def no_losses(self) -> AnyLosses:
        """Zeros for an epoch's losses."""

    def run_steps(
        self, state: TrainState, losses: AnyLosses, order: PlacedOrder, first: int, last: int
    ) -> tuple[TrainState, AnyLosses]:
        """Run the epoch's steps `first <= i < last`; `state` and `losses` are donated."""


def train_loop(
    program: Trainable,
    start: ProgressOf[Loss],
    num_epochs: int,
    evaluate: Callable[[TrainState], Mapping[str, Loss]],
    save_every: int,
    save: Callable[[ProgressOf[Loss]], None],
    report: Callable[[ProgressOf[Loss]], None],
) -> tuple[EpochMetricsOf[Loss], ...]:
    """Train to the end and return the metrics of all epochs. In a distributed run, process 0 reports and saves.

    Args:
      program: runs the steps.
      start: where to start, possibly in the middle of an epoch.
      num_epochs: the last epoch.
      evaluate: the mean losses over the images held out: `{"test_loss": …}`, with "validation_loss" if there are any.
      save_every: optimizer steps between two calls of `save`, 0 for none; it is also called at the end and on a signal.
      save: writes a checkpoint.
      report: called when an epoch has ended, before `save`.

    Raises:
      DivergedError: a run's loss is not finite.
      Interrupted: SIGINT or SIGTERM; the progress has been saved.
    """
    last_step, progress = num_epochs * len(program.sizes), start
    with deferred() as pending_signal, _bar(num_epochs * program.num_images, _images_seen(program, start)) as bar:
        for progress in train_segments(program, start, num_epochs, evaluate, save_every):
            signum = max_over_processes(pending_signal() or 0)  # received by one process, it ends all
            if is_process_0():
                _update_bar(bar, program, progress, num_epochs)
                if progress.step % len(program.sizes) == 0:
                    report(progress)
                if (save_every and progress.step % save_every == 0) or progress.step == last_step or signum:
                    save(progress)
            if signum:
                raise Interrupted(signum)
    return progress.history


def train_segments(
    program: Trainable,
    progress: ProgressOf[Loss],
    num_epochs: int,
    evaluate: Callable[[TrainState], Mapping[str, Loss]],
    stop_every: int,
) -> Iterator[ProgressOf[Loss]]:
    """Train in segments of about `_SEGMENT_SECONDS`, none of which crosses the end of an epoch.

    Args:
      program: runs the steps.
      progress: where to start, possibly in the middle of an epoch.
      num_epochs: the last epoch.
      evaluate: called after each epoch, see `train_loop`.
      stop_every: a segment also ends after every so many steps of the run; 0: no such limit.

    Yields:
      The progress after each segment. The length of the segments does not change it by a bit.

    Raises:
      DivergedError: a run's loss is not finite; a member of a population that diverges does not affect the others.
    """
    num_steps, size = len(program.sizes), 1
    for epoch in range(progress.step // num_steps + 1, num_epochs + 1):
        start = time.perf_counter()
        order = program.order(epoch)
        while progress.step < epoch * num_steps:
            stop = (progress.step // stop_every + 1) * stop_every if stop_every else math.inf
            length = int(min(size, epoch * num_steps - progress.step, stop - progress.step))
            first = progress.step % num_steps
            state, losses = program.run_steps(progress.state, progress.losses, order, first, first + length)
            program.check(np.asarray(losses)[..., first : first + length], progress.step)
            seconds = time.perf_counter() - start
            size = max_over_processes(max(1, int(length / seconds * _SEGMENT_SECONDS)))  # equal in all processes
            progress = dataclasses.replace(
                progress, state=state, losses=losses, step=progress.step + length, seconds=progress.seconds + seconds
            )
            if progress.step == epoch * num_steps:
                progress = _end_epoch(program, progress, epoch, evaluate(state))
            yield progress
            start = time.perf_counter()


def _end_epoch(
    program: Trainable, progress: ProgressOf[Loss], number: int, losses: Mapping[str, Loss]
) -> ProgressOf[Loss]:
    for loss in losses.values():
        program.check(np.asarray(loss), progress.step - 1)
    train_loss = np.average(np.asarray(progress.losses), axis=-1, weights=program.sizes).tolist()
    rate = program.num_images / progress.seconds
    epoch = EpochMetricsOf[Loss](
        number, progress.step, train_loss, seconds=progress.seconds, images_per_second=rate, **losses
    )
    history: tuple[EpochMetricsOf[Loss], ...] = (*progress.history, epoch)
    return ProgressOf[Loss](progress.state, program.no_losses(), progress.step, 0.0, history)


def _bar(total: int, done: int) -> tqdm:
    """The progress bar, shown on a terminal by process 0."""
    hide = None if is_process_0() else True
    return tqdm(total=total, initial=done, unit=" images", unit_scale=True, disable=hide, leave=False)


def _update_bar(bar: tqdm, program: Trainable, progress: ProgressOf[Loss], num_epochs: int) -> None:
    bar.update(_images_seen(program, progress) - bar.n)
    bar.set_description(f"epoch {min(len(progress.history) + 1, num_epochs)}/{num_epochs}", refresh=False)
    if steps := progress.step % len(program.sizes):
        loss = np.asarray(progress.losses)[..., :steps][..., -100:].mean()
        bar.set_postfix(loss=f"{loss:.5f}", refresh=False)


def _images_seen(program: Trainable, progress: ProgressOf[Loss]) -> int:
    epochs, steps = divmod(progress.step, len(program.sizes))
    fraction = program.sizes[:steps].sum() / program.sizes.sum()
    return round((epochs + fraction) * program.num_images)
