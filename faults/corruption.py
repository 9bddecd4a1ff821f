"""Corruption trials: bit flips and truncations of checkpoints, cached arrays, prepared and official datasets."""

import contextlib
import logging
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias
from unittest import mock

import numpy as np

from ae_jax.data.datasets import Dataset, load_dataset
from ae_jax.errors import InputError
from ae_jax.runs.checkpoint_files import latest_checkpoint, list_checkpoints
from faults.workspace import Trial

# Loads a corrupt file; returns None if it is refused or regenerated with a message that names it, else the problem.
Probe: TypeAlias = Callable[[Path], str | None]


def corrupt_files(probes: Mapping[str, tuple[Path, Probe]], flips: int, truncations: int, seed: int) -> Iterator[Trial]:
    """Corrupt the files in turn, call the probe of each, and restore it."""
    rng, names = random.Random(seed), list(probes)
    for i in range(flips + truncations):
        path, probe = probes[names[i % len(names)]]
        content = path.read_bytes()
        if i < flips:
            bit = rng.randrange(8 * len(content))
            corrupt, fault = bytearray(content), f"bit {bit} flipped"
            corrupt[bit // 8] ^= 1 << bit % 8
        else:
            length = rng.randrange(len(content))
            corrupt, fault = bytearray(content[:length]), f"truncated to {length} bytes"
        path.write_bytes(corrupt)
        try:
            problem = probe(path)
        finally:
            path.write_bytes(content)
        yield Trial(f"{names[i % len(names)]}, {fault}", problem)


def make_probes(folder: Path, run_dir: Path, manual_dir: Path | None) -> dict[str, tuple[Path, Probe]]:
    """Make files to corrupt, with their probes: a checkpoint, a cached array, official and prepared files of MNIST.

    Args:
      folder: directory for the copies.
      run_dir: a run with at least two checkpoints.
      manual_dir: directory of MNIST's official files; None: leave MNIST out.
    """
    copy = shutil.copytree(run_dir, folder / "run")
    *_, previous, newest = list_checkpoints(copy)
    glyphs = load_dataset("glyphs", "test", data_dir=folder / "glyphs")
    cached = folder / "glyphs" / "ae_jax" / "glyphs-test.safetensors"
    probes: dict[str, tuple[Path, Probe]] = {
        "checkpoint": (newest, lambda path: _check_fallback(path, previous)),
        "cached array": (cached, lambda path: _check_regenerated(path, glyphs, folder / "glyphs")),
    }
    if manual_dir:
        official = shutil.copytree(manual_dir, folder / "official")
        for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
            probes[f"official {name}"] = (official / name, lambda path: _check_refused(path, folder / "none", official))
        mnist = load_dataset("mnist", "test", data_dir=folder / "prepared", manual_dir=official)
        (folder / "prepared" / "ae_jax" / "mnist-test.safetensors").unlink()
        for name in ("mnist-test.array_record-00000-of-00001", "dataset_info.json"):
            path = folder / "prepared" / "mnist" / "3.0.1" / name
            probes[f"prepared {name}"] = (path, lambda _: _check_refused_or_equal(mnist, folder / "prepared", official))
    return probes


def _check_fallback(path: Path, previous: Path) -> str | None:
    with _warnings() as warnings:
        found = latest_checkpoint(path.parent)
    if found != previous:
        return f"{found} was loaded"
    return None if any(str(path) in warning for warning in warnings) else "skipped without a warning"


def _check_regenerated(path: Path, expected: Dataset, data_dir: Path) -> str | None:
    with _warnings() as warnings:
        data = load_dataset(expected.name, "test", data_dir=data_dir)
    if not _equal(data, expected):
        return "different images were loaded"
    return None if any(str(path) in warning for warning in warnings) else "loaded without a warning"


def _check_refused(path: Path, data_dir: Path, manual_dir: Path) -> str | None:
    try:
        load_dataset("mnist", "test", data_dir=data_dir, manual_dir=manual_dir)
    except InputError as error:
        return None if path.name in str(error) else f"the error does not name the file: {error}"
    shutil.rmtree(data_dir)
    return "the corrupt file was loaded"


def _check_refused_or_equal(expected: Dataset, data_dir: Path, manual_dir: Path) -> str | None:
    """Accept a load of the right images, too: some bytes of TFDS's files do not affect them."""
    try:
        data = load_dataset("mnist", "test", data_dir=data_dir, manual_dir=manual_dir)
    except InputError:
        return None
    (data_dir / "ae_jax" / "mnist-test.safetensors").unlink()
    return None if _equal(data, expected) else "different images were loaded"


def _equal(a: Dataset, b: Dataset) -> bool:
    return np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)  # type: ignore[arg-type]


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the log messages of ae_jax instead of printing them."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    with mock.patch.object(logging.getLogger("ae_jax"), "handlers", [handler]):
        yield messages
