"""Datasets as arrays in memory: MNIST and its variants, synthetic digits, and a user's own files."""

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import jax
import numpy as np
from flax import struct

from ae_jax.data.files import read_split
from ae_jax.data.glyphs import draw_glyphs
from ae_jax.errors import CorruptFileError, InputError, reason
from ae_jax.system import write_atomic
from ae_jax.tensorfile import read_tensors, tensor_bytes
from ae_jax.types import HostImages, HostLabels, PathLike

Split: TypeAlias = Literal["train", "test"]

_EMNIST = tuple(f"emnist/{split}" for split in ("balanced", "byclass", "bymerge", "digits", "letters", "mnist"))
TFDS_DATASETS = ("mnist", "fashion_mnist", "kmnist", *_EMNIST)
_GLYPHS = {"train": (0, 60_000), "test": (1, 10_000)}  # seed and number of images
_TITLES = {
    "glyphs": "synthetic digits (NOT MNIST)",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
}
_CREDITS = {  # MNIST's as https://keras.io/api/datasets/mnist has it, KMNIST's as https://github.com/rois-codh/kmnist
    "mnist": "MNIST, by Yann LeCun and Corinna Cortes, CC BY-SA 3.0",
    "fashion_mnist": "Fashion-MNIST, by Zalando SE, MIT licence",
    "kmnist": "KMNIST (created by CODH), adapted from Kuzushiji Dataset (created by NIJL and others), CC BY-SA 4.0",
    "emnist": "EMNIST, by Gregory Cohen and others, from NIST Special Database 19",
}
_log = logging.getLogger(__name__)


class Dataset(struct.PyTreeNode):
    """One split of a dataset, in host memory; also a batch of images and labels, for losses that take both."""

    name: str = struct.field(pytree_node=False)  # never "auto"
    images: HostImages  # u8[n, 28, 28, 1]
    labels: HostLabels | None  # i32[n]; None for files without labels

    def __iter__(self) -> Iterator[Any]:  # images, labels = dataset
        return iter((self.images, self.labels))


def dataset_title(name: str) -> str:
    """The name of a dataset in figure titles."""
    return Path(name).name if is_array_file(name) else _TITLES.get(name, name)


def image_credit(name: str) -> str:
    """The authors of a dataset's images and their licence; empty for synthetic digits and a user's own."""
    return "" if is_array_file(name) else _CREDITS.get(name.split("/")[0], "")


def is_array_file(name: str) -> bool:
    """Whether the name of a dataset is the path of a user's file."""
    return name.endswith((".npy", ".npz", ".csv"))


def load_dataset(
    name: PathLike = "auto",
    split: Split = "train",
    *,
    data_dir: PathLike | None = None,
    manual_dir: PathLike | None = None,
) -> Dataset:
    """Load a split into host memory; prepare and cache the dataset on first use.

    Args:
      name: "mnist", "fashion_mnist", "kmnist", "emnist/letters" and EMNIST's other splits, "glyphs" (synthetic digits),
        the path of a `.npy`, `.npz` or `.csv` file (see `read_split`), or "auto": MNIST if it is prepared, its official
        files are in `manual_dir` or its server responds, otherwise glyphs.
      split: "train" or "test".
      data_dir: TFDS data directory, also for caches; default `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
      manual_dir: directory with the dataset's official files; default `AE_JAX_MANUAL_DIR`, else none.

    Raises:
      InputError: the name is unknown, the data are unavailable or corrupt, or `data_dir` is not writable.
    """
    if split not in get_args(Split):
        raise InputError(f"unknown split {split!r}; choose train or test.")
    name = find_dataset(name, data_dir=data_dir, manual_dir=manual_dir)
    if is_array_file(name):
        return Dataset(name, *read_split(Path(os.path.expanduser(name)), split))
    return Dataset(name, *_load_cached(name, split, *_folders(data_dir, manual_dir)))


def load_splits(
    name: PathLike = "auto", *, data_dir: PathLike | None = None, manual_dir: PathLike | None = None
) -> tuple[Dataset, Dataset]:
    """Load the training and the test split; arguments and errors as for `load_dataset`."""
    name = find_dataset(name, data_dir=data_dir, manual_dir=manual_dir)
    train_set = load_dataset(name, "train", data_dir=data_dir, manual_dir=manual_dir)
    return train_set, load_dataset(name, "test", data_dir=data_dir, manual_dir=manual_dir)


def hold_out(dataset: Dataset, num_images: int) -> tuple[Dataset, Dataset | None]:
    """The images but the last `num_images`, and those, None if there are none; `InputError` if none are left."""
    if num_images == 0:
        return dataset, None
    n = len(dataset.images)
    if num_images >= n:
        raise InputError(f"`validation` must be less than the {n:,} training images, not {num_images}.")
    rest, held_out = (
        Dataset(dataset.name, dataset.images[rows], None if dataset.labels is None else dataset.labels[rows])
        for rows in (slice(n - num_images), slice(n - num_images, n))
    )
    return rest, held_out


def dataset_digest(train_set: Dataset, test_set: Dataset) -> str:
    """A SHA-256 digest of all images, to check that a resumed run has the images that it was started with."""
    digest = hashlib.sha256()
    for dataset in (train_set, test_set):
        digest.update(str(dataset.images.shape).encode())
        digest.update(np.ascontiguousarray(dataset.images).data)
    return digest.hexdigest()


def find_dataset(name: PathLike, *, data_dir: PathLike | None = None, manual_dir: PathLike | None = None) -> str:
    """Validate a dataset name and resolve "auto", within ten seconds.

    `InputError` if the name is unknown, `manual_dir` lacks official files, or `data_dir` holds an unreadable dataset.
    """
    name = os.fspath(name)
    if name in {*TFDS_DATASETS, "glyphs"} or is_array_file(name):
        return name
    if name != "auto":
        known = ", ".join(("auto", *TFDS_DATASETS, "glyphs"))
        raise InputError(f"unknown dataset {name!r}; choose {known}, or the path of a .npy, .npz or .csv file.")
    folder, manual = _folders(data_dir, manual_dir)
    if is_prepared("mnist", data_dir=folder):
        return "mnist"
    from ae_jax.data import mnist

    if mnist.can_prepare("mnist", manual):
        return "mnist"
    _log.warning("MNIST is neither prepared nor downloadable: using SYNTHETIC DIGITS, rendered from fonts, instead.")
    return "glyphs"


def is_prepared(name: str, *, data_dir: PathLike | None = None) -> bool:
    """Whether a dataset of `TFDS_DATASETS` is prepared or cached in `data_dir`."""
    folder, _ = _folders(data_dir, None)
    if all(os.path.exists(_cache_file(folder, name, split)) for split in get_args(Split)):
        return True
    if not os.path.isdir(folder / name):  # avoids importing TFDS
        return False
    from ae_jax.data import mnist

    return mnist.is_prepared(name, folder)


def _load_cached(name: str, split: str, data_dir: Path, manual_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Read images and labels from the cache file; regenerate it if it is missing or corrupt."""
    path = _cache_file(data_dir, name, split)
    if path.exists():
        try:
            tensors, _ = read_tensors(path)
            return tensors["images"], tensors["labels"]
        except CorruptFileError as error:
            _log.warning("%s It is regenerated.", error)
    if name == "glyphs":
        seed, n = _GLYPHS[split]
        images, labels = map(np.asarray, draw_glyphs(jax.random.key(seed), n))
    else:
        from ae_jax.data import mnist  # here: it imports tensorflow_datasets

        images, labels = mnist.read(name, split, data_dir, manual_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, tensor_bytes({"images": images, "labels": labels}, {}))
    except OSError as error:
        _log.warning("%s cannot be written (%s): %s is prepared anew each time.", path.parent, reason(error), name)
    return images, labels


def _cache_file(data_dir: Path, name: str, split: str) -> Path:
    return data_dir / "ae_jax" / f"{name}-{split}.safetensors"


def _folders(data_dir: PathLike | None, manual_dir: PathLike | None) -> tuple[Path, Path | None]:
    data = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    manual = manual_dir or os.environ.get("AE_JAX_MANUAL_DIR")
    return Path(os.path.expanduser(data)), Path(os.path.expanduser(manual)) if manual else None
