"""Where a run is, and what it has measured: the types that its loop, its files and its reports share."""

import dataclasses
from typing import Generic, TypeAlias, TypeVar

from ae_jax.training.state import TrainState
from ae_jax.types import AnyLosses

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
