"""A run's training loop: piece after piece of its epochs, each from all that the rest depends on to the same later."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from ae_jax.parallel.multihost import largest
from ae_jax.runs.progress import EpochMetricsOf, Loss, ProgressOf
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
