"""Trials with the user's own files: a corrupt copy is refused in one line, or read as what it holds."""

import contextlib
import importlib.util
import io
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import numpy as np

import ae_jax
from ae_jax.data.array_files import read_images
from ae_jax.data.datasets import Split
from ae_jax.data.pictures import PICTURE_SUFFIXES
from ae_jax.errors import InputError
from ae_jax.exchange.convert import from_torch
from faults.mutations import mutations
from faults.own_files import Arrays, OwnFile, own_files, torch_files
from faults.workspace import Trial

_MAX_RATIO, _FREE_BYTES = 3, 500 * 10**6  # memory for a file, beyond that for the valid one: 3 × its size + 500 MB


def corrupt_own_files(num_trials: int, seed: int, jobs: int) -> Iterator[Trial]:
    """Corrupt each kind of file in a process of its own, and print by how much that raised the peak of its memory."""
    has_torch = bool(importlib.util.find_spec("torch"))
    if not has_torch:
        print("files: without .pt files, as PyTorch is not installed", file=sys.stderr)
    kinds = [(make, kind) for make in (own_files, torch_files)[: 1 + has_torch] for kind in make()]
    counts = [len(range(i, num_trials, len(kinds))) for i in range(len(kinds))]
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        results = [pool.submit(_corrupt_in_child, *kind, n, seed) for kind, n in zip(kinds, counts, strict=True)]
        for (_, kind), result in zip(kinds, results, strict=True):
            try:
                trials, growth, peak = result.result()
            except BrokenProcessPool as error:
                yield Trial(kind, f"a process ended: {error}")
                continue
            yield from trials
            print(f"files: {kind}: {growth >> 20} MiB beyond the valid file, {peak >> 20} MiB in all", file=sys.stderr)


def corrupt_own_file(file: OwnFile, num_trials: int, seed: int, folder: Path) -> Iterator[Trial]:
    """Read corrupt copies of a file in `folder`."""
    path = read_valid(file, folder)
    limit = _peak_memory() + _MAX_RATIO * path.stat().st_size + _FREE_BYTES
    for description, content in mutations(file.content, file.structure, num_trials, seed):
        path.write_bytes(file.seal(content))
        problem = _problem(file, content, path)
        if _peak_memory() > limit:
            problem = f"{_peak_memory():,} bytes of memory are more than {limit:,}"
        yield Trial(f"{file.name}, {description}", problem)


def read_valid(file: OwnFile, folder: Path) -> Path:
    """Write the valid file and read it, which must give what is expected."""
    path = folder / file.name
    path.write_bytes(file.seal(file.content))
    arrays = _read(path)
    assert not file.expected or _equal(arrays, file.expected(file.content)), file.name
    return path


def _corrupt_in_child(
    make: Callable[[], dict[str, OwnFile]], kind: str, num_trials: int, seed: int
) -> tuple[list[Trial], int, int]:
    """The trials of one kind of file, by how much they raised the peak of this process's memory, and that peak."""
    file = make()[kind]
    with tempfile.TemporaryDirectory() as folder:
        read_valid(file, Path(folder))
        before = _peak_memory()
        trials = list(corrupt_own_file(file, num_trials, seed, Path(folder)))
    return trials, _peak_memory() - before, _peak_memory()


def _problem(file: OwnFile, content: bytes, path: Path) -> str | None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        try:
            arrays, message = _read(path), None
        except InputError as error:
            arrays, message = None, str(error)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    if shown:
        return f"a warning: {shown[0].message}"
    if arrays is None:
        is_one_line = str(message).isprintable() and path.name in str(message)
        return None if is_one_line else f"not a line that names the file: {message}"
    return "read as something else" if file.expected and not _equal(arrays, file.expected(content)) else None


def _read(path: Path) -> Arrays:
    """The arrays that commands read from a file: images and labels, or the weights of an imported run."""
    if path.suffix in PICTURE_SUFFIXES:
        return [read_images(path)]
    if path.suffix in (".npy", ".npz"):
        train, test = (ae_jax.load_dataset(path, split) for split in get_args(Split))
        labels = [data.labels for data in (train, test) if data.labels is not None]
        return [read_images(path), train.images, test.images, *labels]
    run_dir = path.with_suffix("")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from_torch(str(path), str(run_dir), "sigmoid")
        trained = ae_jax.load_model(run_dir)
        return [array for _, array in sorted(ae_jax.params_to_torch(trained.model, trained.params).items())]
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


def _equal(arrays: Arrays, expected: Arrays | None) -> bool:
    if expected is None or len(arrays) != len(expected):
        return False
    return all(np.array_equal(a, b, equal_nan=False) for a, b in zip(arrays, expected, strict=True))


def _peak_memory() -> int:
    """The largest resident set of this process so far, in bytes; only Linux says it without the parent's."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else 0
