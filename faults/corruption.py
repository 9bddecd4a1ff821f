"""Corrupt files: bit flips and truncations of checkpoints, weights files, and cached, prepared, official datasets."""

import contextlib
import functools
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias
from unittest import mock

import numpy as np

import ae_jax
from ae_jax.errors import InputError
from ae_jax.exchange.torch import weights_bytes
from ae_jax.training.checkpoint import latest_checkpoint, list_checkpoints
from faults.workspace import Trial, Workspace

# Loads a corrupt file; returns None if it is refused or regenerated with a message that names it, else the problem.
_Probe: TypeAlias = Callable[[Path], str | None]
_TRUNCATIONS = 6  # every sixth trial truncates the file


def corrupt_files(workspace: Workspace, seeds: range) -> Iterator[Trial]:
    """Corrupt files in turn, load each, and restore it."""
    probes, rng = _make_probes(workspace), random.Random(seeds.start)
    for i in range(len(seeds)):
        name = list(probes)[i % len(probes)]
        path, probe = probes[name]
        content = path.read_bytes()
        corrupt, fault = _truncate(content, rng) if rng.randrange(_TRUNCATIONS) == 0 else _flip(content, rng)
        path.write_bytes(corrupt)
        try:
            problem = probe(path)
        except Exception as error:  # a library's own, which the command line would not report in one line
            problem = f"{type(error).__name__}: {error}"
        path.write_bytes(content)
        yield Trial(f"{name}, {fault}", problem)


def _make_probes(workspace: Workspace) -> dict[str, tuple[Path, _Probe]]:
    """Make files to corrupt, with their probes."""
    workspace.run_undisturbed(["train"])
    folder = workspace.folder / "corruption"
    run_dir = shutil.copytree(workspace.undisturbed["train"].folder / "out", folder / "run")
    *_, previous, newest = list_checkpoints(run_dir)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights_bytes(ae_jax.load_model(run_dir)))
    glyphs = ae_jax.load_dataset("glyphs", "test", data_dir=folder / "glyphs")
    cached = folder / "glyphs" / "ae_jax" / "glyphs-test.safetensors"
    return {
        "checkpoint": (newest, lambda path: _check_fallback(path, previous)),
        "weights file": (weights, lambda path: _check_refused(path, lambda: ae_jax.load_model(path))),
        "cached dataset": (cached, lambda path: _check_regenerated(path, glyphs, folder / "glyphs")),
        **(_mnist_probes(folder, workspace.mnist_files) if workspace.mnist_files else {}),
    }


def _mnist_probes(folder: Path, mnist_files: str) -> dict[str, tuple[Path, _Probe]]:
    """Probes of official and prepared files."""
    official, data_dir = shutil.copytree(mnist_files, folder / "official"), folder / "prepared"
    load = functools.partial(ae_jax.load_dataset, "mnist", "test", manual_dir=official)

    def load_prepared() -> ae_jax.Dataset:
        data = load(data_dir=data_dir)
        (data_dir / "ae_jax" / "mnist-test.safetensors").unlink()  # the cache, which the next trial must not read
        return data

    mnist, probes = load_prepared(), dict[str, tuple[Path, _Probe]]()
    for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        refused = functools.partial(_check_refused, load=lambda: load(data_dir=folder / "none"))
        probes[f"official {name}"] = (official / name, refused)
    for name in ("mnist-test.array_record-00000-of-00001", "dataset_info.json"):
        path = data_dir / "mnist" / "3.0.1" / name
        probes[f"prepared {name}"] = (path, lambda _: _check_refused_or_equal(mnist, load_prepared))
    return probes


def _truncate(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    length = rng.randrange(len(content))
    return content[:length], f"truncated to {length} bytes"


def _flip(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    bit, corrupt = rng.randrange(8 * len(content)), bytearray(content)
    corrupt[bit // 8] ^= 1 << bit % 8
    return bytes(corrupt), f"bit {bit} flipped"


def _check_fallback(path: Path, previous: Path) -> str | None:
    with _warnings() as warnings:
        found = latest_checkpoint(path.parent)
    if found != previous:
        return f"{found} was loaded"
    return None if any(str(path) in warning for warning in warnings) else "skipped without a warning"


def _check_refused(path: Path, load: Callable[[], object]) -> str | None:
    try:
        load()
    except InputError as error:
        is_good = path.name in str(error) and "\n" not in str(error)
        return None if is_good else f"not a line that names the file: {error}"
    return "the corrupt file was loaded"


def _check_regenerated(path: Path, expected: ae_jax.Dataset, data_dir: Path) -> str | None:
    with _warnings() as warnings:
        data = ae_jax.load_dataset(expected.name, "test", data_dir=data_dir)
    if not _equal(data, expected):
        return "different images were loaded"
    return None if any(str(path) in warning for warning in warnings) else "loaded without a warning"


def _check_refused_or_equal(expected: ae_jax.Dataset, load: Callable[[], ae_jax.Dataset]) -> str | None:
    """Accept the right images, too: some bytes of TFDS's files do not affect them."""
    try:
        return None if _equal(load(), expected) else "different images were loaded"
    except InputError:
        return None


def _equal(a: ae_jax.Dataset, b: ae_jax.Dataset) -> bool:
    return np.array_equal(a.images, b.images) and np.array_equal(np.asarray(a.labels), np.asarray(b.labels))


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the log messages of ae_jax instead of printing them."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    with mock.patch.object(logging.getLogger("ae_jax"), "handlers", [handler]):
        yield messages
