"""What runs have come to, and how far apart arrays are."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

import ae_jax
from ae_jax.runs.run_dir import metrics_lines
from ae_jax.system.tensorfile import Tensors, read_tensors


def outcome(run_dir: str | Path) -> tuple[Tensors, list[list[Any]]]:
    """A run's, or a sweep's: the arrays of its newest checkpoint, and its metrics but for the time they took."""
    arrays, _ = read_tensors(ae_jax.latest_checkpoint(run_dir))
    timeless = ("epoch", "step", "train_loss", "test_loss")
    return arrays, [[line[name] for name in timeless] for line in metrics_lines(Path(run_dir))]


def assert_same_outcome(run_dir: str | Path, other: str | Path) -> None:
    (arrays, metrics), (expected, expected_metrics) = outcome(run_dir), outcome(other)
    assert metrics == expected_metrics
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


def largest_difference(a: object, b: object) -> float:
    """Between the entries of two pytrees of arrays."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)
