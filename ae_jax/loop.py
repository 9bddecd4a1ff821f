"""A run's training loop: piece after piece of its epochs, each from all that the rest depends on to the same later."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from ae_jax.hosts import largest
from ae_jax.population import Population
from ae_jax.program import Program
from ae_jax.state import TrainState
from ae_jax.types import AnyLosses

_PIECE_SECONDS = 0.5  # between two looks at the loss; a signal waits no longer


Loss = TypeVar("Loss")  # `float`, of a run, or `list[float]`, of the members of a population


@dataclasses.dataclass(frozen=True)
class EpochMetricsOf(Generic[Loss]):
    """One line of `metrics.jsonl`."""

    epoch: int  # from 1
    step: int  # optimizer steps since the start
    train_loss: Loss  # mean over the epoch's images, each at the step that trained on it
    test_loss: Loss  # mean over all test images, after the epoch
    seconds: float  # of training alone: neither evaluation nor compilation
    images_per_second: float


@dataclasses.dataclass(frozen=True)
class ProgressOf(Generic[Loss]):
    """Where a run is, or a population. Its arrays are used up by the next piece: save or draw what you need before."""

    state: TrainState
    losses: AnyLosses  # of the epoch that is under way, at each of its steps so far
    step: int = 0  # optimizer steps since the start, as `state.step`
    seconds: float = 0.0  # that the epoch under way has trained so far
    history: tuple[EpochMetricsOf[Loss], ...] = ()  # of the epochs that are done


EpochMetrics: TypeAlias = EpochMetricsOf[float]
Progress: TypeAlias = ProgressOf[float]
MembersProgress: TypeAlias = ProgressOf[list[float]]


def train_pieces(
    program: Program | Population,
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


def _end_epoch(
    program: Program | Population, progress: ProgressOf[Loss], number: int, test_loss: Loss
) -> ProgressOf[Loss]:
    program.check(np.asarray(test_loss), progress.step - 1)
    train_loss = np.average(np.asarray(progress.losses), axis=-1, weights=program.sizes).tolist()
    rate = program.num_images / progress.seconds
    epoch = EpochMetricsOf[Loss](number, progress.step, train_loss, test_loss, progress.seconds, rate)
    history: tuple[EpochMetricsOf[Loss], ...] = (*progress.history, epoch)
    return ProgressOf[Loss](progress.state, program.no_losses(), progress.step, 0.0, history)
