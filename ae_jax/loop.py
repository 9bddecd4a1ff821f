"""A run's training loop: piece after piece of its epochs, each from all that the rest depends on to the same later."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from ae_jax.errors import DivergedError
from ae_jax.hosts import largest
from ae_jax.program import Program
from ae_jax.state import TrainState
from ae_jax.types import StepLosses

_PIECE_SECONDS = 0.5  # between two looks at the loss; a signal waits no longer


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """One line of `metrics.jsonl`."""

    epoch: int  # from 1
    step: int  # optimizer steps since the start
    train_loss: float  # mean over the epoch's images, each at the step that trained on it
    test_loss: float  # mean over all test images, after the epoch
    seconds: float  # of training alone: neither evaluation nor compilation
    images_per_second: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run is. Its arrays are used up by the next piece: save or draw what you need before."""

    state: TrainState
    losses: StepLosses  # f32[steps], of the epoch that is under way, at each of its steps so far
    step: int = 0  # optimizer steps since the start, as `state.step`
    seconds: float = 0.0  # that the epoch under way has trained so far
    history: tuple[EpochMetrics, ...] = ()  # of the epochs that are done


def train_pieces(
    program: Program, progress: Progress, num_epochs: int, test_loss: Callable[[TrainState], float], stop_every: int
) -> Iterator[Progress]:
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
      DivergedError: a loss is not finite.
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
            _require_finite(np.asarray(losses)[first : first + length], progress.step)
            seconds = time.perf_counter() - start
            size = largest(max(1, int(length / seconds * _PIECE_SECONDS)))  # the same for all processes
            progress = dataclasses.replace(
                progress, state=state, losses=losses, step=progress.step + length, seconds=progress.seconds + seconds
            )
            if progress.step == epoch * num_steps:
                progress = _end_epoch(program, progress, epoch, test_loss(state))
            yield progress
            start = time.perf_counter()


def _end_epoch(program: Program, progress: Progress, epoch: int, test_loss: float) -> Progress:
    _require_finite(np.asarray([test_loss]), progress.step - 1)
    train_loss = float(np.average(progress.losses, weights=program.sizes))
    rate = len(program.feeding) / progress.seconds
    metrics = EpochMetrics(epoch, progress.step, train_loss, test_loss, progress.seconds, rate)
    return dataclasses.replace(progress, losses=program.no_losses(), seconds=0.0, history=(*progress.history, metrics))


def _require_finite(losses: np.ndarray, step: int) -> None:
    """Raise `DivergedError` where one of the losses of the steps after `step` is not finite."""
    bad = ~np.isfinite(losses)
    if bad.any():
        raise DivergedError(f"the loss is not finite at step {step + int(bad.argmax()) + 1}")
