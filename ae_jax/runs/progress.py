"""The state of a training run between two segments, and the metrics of its epochs, also from a checkpoint."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, get_type_hints

from ae_jax.config import MAX_STEPS
from ae_jax.errors import InputError
from ae_jax.system.schema import conforms
from ae_jax.training.state import TrainState
from ae_jax.types import AnyLosses

_TIMES = ("seconds", "images_per_second")
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


def parse_history(info: dict[str, Any], loss_type: Any, source: Path) -> tuple[EpochMetricsOf[Any], ...]:
    """The metrics in a checkpoint's info, with losses of a type; raises `InputError` if they are not such metrics."""
    losses = {"train_loss": loss_type, "test_loss": loss_type, "validation_loss": loss_type | None}
    hints = {**get_type_hints(EpochMetricsOf), **losses}
    history = info.get("history")
    if not isinstance(history, list):
        raise invalid_checkpoint(source, "history")
    optional = {"validation_loss": None}  # the first versions had no validation
    history = [optional | metrics if isinstance(metrics, dict) else metrics for metrics in history]
    for number, metrics in enumerate(history, 1):
        is_valid = isinstance(metrics, dict) and metrics.keys() == hints.keys()
        if not is_valid or not all(conforms(metrics[name], hint) for name, hint in hints.items()):
            raise invalid_checkpoint(source, f"history of epoch {number}")
        measured = [metrics[name] for name in (*_TIMES, *(losses if loss_type is float else ()))]
        is_measured = all(0 <= value < math.inf for value in measured if value is not None)
        if metrics["epoch"] != number or not 0 <= metrics["step"] <= MAX_STEPS or not is_measured:
            raise invalid_checkpoint(source, f"history of epoch {number}")
    return tuple(EpochMetricsOf(**metrics) for metrics in history)


def invalid_checkpoint(path: Path, what: str) -> InputError:
    """The error for a checkpoint that has a valid digest, but no valid content."""
    return InputError(
        f"{path} has an invalid {what}; delete it to resume from an earlier checkpoint, or start a new run."
    )
