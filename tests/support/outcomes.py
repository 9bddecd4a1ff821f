"""Comparisons of run outcomes and of pytrees."""

from pathlib import Path

import jax
import numpy as np

from faults.outcomes import outcome_difference, run_outcome


def assert_same_outcome(run_dir: str | Path, other: str | Path) -> None:
    assert outcome_difference(run_outcome(run_dir), run_outcome(other)) is None


def largest_difference(a: object, b: object) -> float:
    """The largest absolute difference between two pytrees of arrays."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max(initial=0)) for x, y in pairs)
