"""Comparisons of run outcomes and of pytrees."""

import json
from pathlib import Path

import jax
import numpy as np

from ae_jax.training.checkpoint import list_checkpoints, read_checkpoint


def assert_same_outcome(run_dir: str | Path, other: str | Path) -> None:
    """Assert that two runs have equal final states to the bit, and equal metrics but for times."""
    ends = [read_checkpoint(list_checkpoints(folder)[-1]) for folder in (run_dir, other)]
    assert ends[0].tensors.keys() == ends[1].tensors.keys()
    assert [name for name, array in ends[0].tensors.items() if not np.array_equal(array, ends[1].tensors[name])] == []
    assert _losses(run_dir) == _losses(other)


def largest_difference(a: object, b: object) -> float:
    """The largest absolute difference between two pytrees of arrays."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max(initial=0)) for x, y in pairs)


def _losses(run_dir: str | Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in Path(run_dir, "metrics.jsonl").read_text().splitlines()]
    return [{name: x for name, x in line.items() if not name.endswith(("seconds", "second"))} for line in lines]
