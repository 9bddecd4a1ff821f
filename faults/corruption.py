"""Files that rot: flipped bits and truncations of checkpoints, cached arrays, prepared and official datasets."""

import contextlib
import io
import logging
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ae_jax.data.datasets import Dataset, load_dataset
from ae_jax.errors import InputError
from ae_jax.runs.checkpoints import latest_checkpoint, list_checkpoints
from faults.workplace import Trial

# What became of a damaged file: it was refused or made anew and said so (None), or loaded (what was wrong).
Probe: TypeAlias = Callable[[Path], str | None]


def damage_files(probes: Mapping[str, tuple[Path, Probe]], flips: int, truncations: int, seed: int) -> Iterator[Trial]:
    """Damage each file in turn, ask its probe what became of it, and mend it again."""
    rng, names = random.Random(seed), list(probes)
    for i in range(flips + truncations):
        path, probe = probes[names[i % len(names)]]
        sound = path.read_bytes()
        if i < flips:
            bit = rng.randrange(8 * len(sound))
            damaged, what = bytearray(sound), f"bit {bit}"
            damaged[bit // 8] ^= 1 << bit % 8
        else:
            length = rng.randrange(len(sound))
            damaged, what = bytearray(sound[:length]), f"all after byte {length}"
        path.write_bytes(damaged)
        try:
            problem = probe(path)
        finally:
            path.write_bytes(sound)
        yield Trial(f"{names[i % len(names)]}, {what}", problem)


def make_probes(folder: Path, run_dir: Path, manual_dir: Path | None) -> dict[str, tuple[Path, Probe]]:
    """A checkpoint of a run that has several, a cached array and, from `manual_dir`, MNIST official and prepared.

    Args:
      folder: where copies are made.
      run_dir: a run of at least two checkpoints.
      manual_dir: the official files, or None to leave MNIST out.
    """
    copy = shutil.copytree(run_dir, folder / "run")
    *_, before, newest = list_checkpoints(copy)
    drawn = load_dataset("glyphs", "test", data_dir=folder / "drawn")
    cached = folder / "drawn" / "ae_jax" / "glyphs-test.safetensors"
    probes: dict[str, tuple[Path, Probe]] = {
        "checkpoint": (newest, lambda path: _skipped_for(path, before)),
        "cached array": (cached, lambda path: _made_anew(path, drawn, "glyphs", folder / "drawn", None)),
    }
    if manual_dir:
        official = shutil.copytree(manual_dir, folder / "official")
        for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
            probes[f"official {name}"] = (official / name, lambda path: _refused(path, folder / "none", official))
        sound = load_dataset("mnist", "test", data_dir=folder / "prepared", manual_dir=official)
        (folder / "prepared" / "ae_jax" / "mnist-test.safetensors").unlink()
        for name in ("mnist-test.array_record-00000-of-00001", "dataset_info.json"):
            path = folder / "prepared" / "mnist" / "3.0.1" / name
            probes[f"prepared {name}"] = (path, lambda _: _refused_or_equal(sound, folder / "prepared", official))
    return probes


def _skipped_for(path: Path, before: Path) -> str | None:
    with _warnings() as warnings:
        found = latest_checkpoint(path.parent)
    if found != before:
        return f"{found} was loaded"
    return None if any(str(path) in warning for warning in warnings) else "skipped without a word"


def _made_anew(path: Path, sound: Dataset, name: str, data_dir: Path, manual_dir: Path | None) -> str | None:
    with _warnings() as warnings:
        data = load_dataset(name, "test", data_dir=data_dir, manual_dir=manual_dir)
    if not np.array_equal(data.images, sound.images) or not np.array_equal(data.labels, sound.labels):  # type: ignore[arg-type]
        return "other images were loaded"
    return None if any(str(path) in warning for warning in warnings) else "loaded without a word"


def _refused(path: Path, data_dir: Path, manual_dir: Path) -> str | None:
    try:
        load_dataset("mnist", "test", data_dir=data_dir, manual_dir=manual_dir)
    except InputError as error:
        return None if path.name in str(error) else f"refused without its name: {error}"
    shutil.rmtree(data_dir)
    return "it was loaded"


def _refused_or_equal(sound: Dataset, data_dir: Path, manual_dir: Path) -> str | None:
    """TFDS's own files hold bytes that mean nothing, or not for the images."""
    try:
        data = load_dataset("mnist", "test", data_dir=data_dir, manual_dir=manual_dir)
    except InputError:
        return None
    (data_dir / "ae_jax" / "mnist-test.safetensors").unlink()
    same = np.array_equal(data.images, sound.images) and np.array_equal(data.labels, sound.labels)  # type: ignore[arg-type]
    return None if same else "other images were loaded"


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is logged within, in place of the terminal."""
    messages: list[str] = []
    handler, log = logging.StreamHandler(io.StringIO()), logging.getLogger("ae_jax")
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    others: list[Any] = [*log.handlers]
    log.handlers = [handler]
    try:
        yield messages
    finally:
        log.handlers = others
