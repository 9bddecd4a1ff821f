"""The state of a training run between two segments, and the metrics of its epochs."""

import dataclasses
from typing import Generic, TypeAlias, TypeVar

from ae_jax.training.state import TrainState
from ae_jax.types import AnyLosses

Loss = TypeVar("Loss")  # `float` for a run, `list[float]` for the members of a population


@dataclasses.dataclass(frozen=True)
class EpochMetricsOf(Generic[Loss]):
    """One line of `metrics.jsonl`."""

    epoch: int  # from 1
    step: int  # optimizer steps since the start
    train_loss: Loss  # mean over the epoch's images, each at the step that trained on it
    test_loss: Loss  # mean over all test images, after the epoch
    seconds: float  # training alone: neither evaluation nor compilation
    images_per_second: float
    validation_loss: Loss | None = None  # mean over all validation images, if there are any


@dataclasses.dataclass(frozen=True)
class ProgressOf(Generic[Loss]):
    """The complete state needed to resume a run, or a population, from a segment boundary.

    The next segment donates its arrays: save or draw what you need before.
    """

    state: TrainState
    losses: AnyLosses  # of the current epoch, at each of its steps so far
    step: int = 0  # optimizer steps since the start, as `state.step`
    seconds: float = 0.0  # of training in the current epoch so far
    history: tuple[EpochMetricsOf[Loss], ...] = ()  # of the finished epochs


EpochMetrics: TypeAlias = EpochMetricsOf[float]
Progress: TypeAlias = ProgressOf[float]
MembersProgress: TypeAlias = ProgressOf[list[float]]
