"""The outcome of a run: checkpoint and metrics without times, equal bit for bit if two runs agree."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ae_jax.runs.checkpoint_files import latest_checkpoint
from ae_jax.runs.run_dir import metrics_lines
from ae_jax.system.tensorfile import Tensors, read_tensors

Outcome: TypeAlias = tuple[Tensors, list[list[Any]]]
_METRICS = ("epoch", "step", "train_loss", "test_loss")


def run_outcome(run_dir: str | Path) -> Outcome:
    """The arrays of the newest checkpoint of a run or sweep, and its metrics without times."""
    path = latest_checkpoint(run_dir)
    assert path
    tensors, _ = read_tensors(path)
    return tensors, [[line[name] for name in _METRICS] for line in metrics_lines(Path(run_dir))]


def outcome_difference(outcome: Outcome, expected: Outcome) -> str | None:
    """The difference between two outcomes, or None if they are equal bit for bit."""
    (tensors, metrics), (expected_tensors, expected_metrics) = outcome, expected
    if metrics != expected_metrics:
        return f"metrics {metrics} instead of {expected_metrics}"
    names = tensors.keys() | expected_tensors.keys()
    differing = [name for name in sorted(names) if not _equal(tensors.get(name), expected_tensors.get(name))]
    return f"different arrays: {', '.join(differing)}" if differing else None


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a, b)
