"""Datasets as arrays: MNIST and its variants, the built-in glyphs, and user-supplied files."""

import dataclasses
import functools
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import jax
import numpy as np

from ae_jax.data.array_files import read_array_file
from ae_jax.data.glyphs import draw_glyphs
from ae_jax.data.stored_images import AnyImages, part
from ae_jax.errors import DamagedFileError, InputError, one_line
from ae_jax.system.atomic import ABANDONED_SECONDS, remove_temporaries
from ae_jax.system.tensorfile import Tensors, read_tensors, write_tensors
from ae_jax.types import HostImages, HostLabels, PathLike

Split: TypeAlias = Literal["train", "test"]

_EMNIST = tuple(f"emnist/{split}" for split in ("balanced", "byclass", "bymerge", "digits", "letters", "mnist"))
TFDS_DATASETS = ("mnist", "fashion_mnist", "kmnist", *_EMNIST)
_GLYPHS = {"train": (0, 60_000), "test": (1, 10_000)}  # seed and number of images
_CREDITS = {  # MNIST's as https://keras.io/api/datasets/mnist has it, KMNIST's as https://github.com/rois-codh/kmnist
    "mnist": "MNIST, by Yann LeCun and Corinna Cortes, CC BY-SA 3.0",
    "fashion_mnist": "Fashion-MNIST, by Zalando SE, MIT licence",
    "kmnist": "KMNIST (created by CODH), adapted from Kuzushiji Dataset (created by NIJL and others), CC BY-SA 4.0",
    "emnist": "EMNIST, by Gregory Cohen and others, from NIST Special Database 19",
}
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class OpenDataset:
    """One split of a dataset; its images may stay in a file until they are indexed."""

    name: str  # never "auto"
    images: AnyImages  # u8[n, 28, 28, 1]
    labels: HostLabels | None  # i32[n]; None for files without labels

    def load(self) -> "Dataset":
        """Load the images into host memory."""
        return Dataset(self.name, np.asarray(self.images), self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset(OpenDataset):
    """One split of a dataset, in host memory: `images u8[n, 28, 28, 1]`, and `labels i32[n]` or None."""

    images: HostImages  # u8[n, 28, 28, 1]


def dataset_title(name: str) -> str:
    """The name of a dataset in figure titles."""
    if name == "glyphs":
        return "embedded glyphs (NOT MNIST)"
    return one_line(Path(name).name) if is_array_file(name) else name


def image_credit(name: str) -> str:
    """The authors of a dataset's images, and their licence where there is one; empty for glyphs and a user's own."""
    return "" if is_array_file(name) else _CREDITS.get(name.split("/")[0], "")


def load_dataset(
    name: PathLike = "auto",
    split: Split = "train",
    *,
    data_dir: PathLike | None = None,
    manual_dir: PathLike | None = None,
) -> Dataset:
    """Load a split into host memory; prepare and cache the dataset on first use.

    Args:
      name: "mnist", "fashion_mnist", "kmnist", "emnist/letters" and EMNIST's other splits, "glyphs", the path of a
        `.npy` or `.npz` file (see `read_array_file`), or "auto": MNIST if it is prepared, its official files are in
        `manual_dir` or its server responds, otherwise glyphs.
      split: "train" or "test".
      data_dir: TFDS data directory, also for caches; default `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
      manual_dir: directory with the dataset's official files; default `AE_JAX_MANUAL_DIR`, else none.

    Raises:
      InputError: the name is unknown, the data are unavailable or corrupt, or `data_dir` is not writable.
    """
    return open_dataset(name, split, data_dir=data_dir, manual_dir=manual_dir).load()


def open_dataset(
    name: PathLike, split: Split, *, data_dir: PathLike | None = None, manual_dir: PathLike | None = None
) -> OpenDataset:
    """Open a split as `load_dataset` does, but read the images of a `.npy` file only when they are indexed."""
    if split not in get_args(Split):
        raise InputError(f"unknown split {split!r}; choose train or test.")
    name = find_dataset(name, data_dir=data_dir, manual_dir=manual_dir)
    if is_array_file(name):
        return OpenDataset(name, *read_array_file(_expanded(name, "--dataset"), split))
    folder, manual = _folders(data_dir, manual_dir)
    make = _draw if name == "glyphs" else functools.partial(_read_tfds, name, folder, manual)
    return OpenDataset(name, *_load_cached(_cache_file(folder, name, split), functools.partial(make, split)))


def open_splits(
    name: PathLike, *, data_dir: PathLike | None = None, manual_dir: PathLike | None = None
) -> tuple[OpenDataset, OpenDataset]:
    """Open the training and the test split; errors as for `load_dataset`."""
    name = find_dataset(name, data_dir=data_dir, manual_dir=manual_dir)
    folders = {"data_dir": data_dir, "manual_dir": manual_dir}
    return open_dataset(name, "train", **folders), open_dataset(name, "test", **folders)


def hold_out(dataset: OpenDataset, num_images: int) -> tuple[OpenDataset, OpenDataset | None]:
    """Split off the last `num_images`: the rest, and the images held out, or None if there are none.

    Raises:
      InputError: nothing would be left.
    """
    if num_images == 0:
        return dataset, None
    n = len(dataset.images)
    if num_images >= n:
        raise InputError(f"--validation must be less than the {n:,} training images, not {num_images}.")
    rest, held_out = (
        OpenDataset(dataset.name, part(dataset.images, rows), None if dataset.labels is None else dataset.labels[rows])
        for rows in (slice(n - num_images), slice(n - num_images, n))
    )
    return rest, held_out


def find_dataset(name: PathLike, *, data_dir: PathLike | None = None, manual_dir: PathLike | None = None) -> str:
    """Validate a dataset name and resolve "auto", within ten seconds.

    Raises:
      InputError: the name is unknown, `manual_dir` lacks official files, or `data_dir` holds an unreadable dataset.
    """
    name = os.fspath(name)
    if name != "auto":
        if name not in {*TFDS_DATASETS, "glyphs"} and not is_array_file(name):
            known = ", ".join(("auto", *TFDS_DATASETS, "glyphs"))
            raise InputError(f"unknown dataset {name!r}; choose {known}, or the path of a .npy or .npz file.")
        return name
    folder, manual = _folders(data_dir, manual_dir)
    if is_prepared("mnist", data_dir=folder):
        return "mnist"
    from ae_jax.data import tfds_mnist  # here: it imports tensorflow_datasets

    if tfds_mnist.can_prepare("mnist", manual):
        return "mnist"
    _log.warning("MNIST is neither prepared nor downloadable: using the built-in GLYPHS, digits rendered from fonts.")
    return "glyphs"


def is_prepared(name: str, *, data_dir: PathLike | None = None) -> bool:
    """Whether a dataset of `TFDS_DATASETS` is prepared or cached in `data_dir`."""
    try:
        folder, _ = _folders(data_dir, None)
    except InputError:
        if data_dir:
            raise
        return False  # there is no home directory for the default
    if all(_cache_file(folder, name, split).exists() for split in get_args(Split)):
        return True
    if not (folder / name).is_dir():  # avoids importing TFDS
        return False
    from ae_jax.data import tfds_mnist

    return tfds_mnist.is_prepared(name, folder)


def _draw(split: Split) -> tuple[np.ndarray, np.ndarray]:
    seed, n = _GLYPHS[split]
    images, labels = draw_glyphs(jax.random.key(seed), n)
    return np.asarray(images), np.asarray(labels)


def _read_tfds(name: str, data_dir: Path, manual_dir: Path | None, split: Split) -> tuple[HostImages, HostLabels]:
    from ae_jax.data import tfds_builders, tfds_mnist  # here: they import tensorflow_datasets

    if not tfds_mnist.is_prepared(name, data_dir):
        if not tfds_mnist.can_prepare(name, manual_dir):
            raise InputError(
                f"{name} is not in {data_dir} and its server does not respond; connect to the network, pass the "
                f"directory with {', '.join(tfds_builders.official_files(name))} as --manual-dir, or use "
                "--dataset glyphs."
            )
        _log.info("Preparing %s in %s", name, data_dir)
        if not tfds_mnist.has_array_record():
            return tfds_mnist.read_official(name, split, data_dir, manual_dir)
        tfds_mnist.prepare(name, data_dir, manual_dir)
    return tfds_mnist.read(name, split, data_dir)


def _load_cached(path: Path, make: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Read images and labels from the cache file `path`; regenerate it if it is missing or corrupt."""
    try:
        tensors, _ = read_tensors(path)
        return _check_cached(path, tensors)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except DamagedFileError as error:
        _log.warning("%s It is regenerated.", error)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}); choose another --data-dir.") from error
    images, labels = make()
    remove_temporaries(path.parent, older_than=time.time() - ABANDONED_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {"images": images, "labels": labels}, {})
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written ({error}); choose another --data-dir.") from error
    return images, labels


def _check_cached(path: Path, tensors: Tensors) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a cache file, or `DamagedFileError`: the data folder may be a stranger's."""
    images, labels = (tensors.get(name, np.zeros(())) for name in ("images", "labels"))
    is_image = images.dtype == np.uint8 and images.shape[1:] == (28, 28, 1) and images.size > 0
    if not is_image or labels.dtype != np.int32 or labels.shape != images.shape[:1]:
        raise DamagedFileError(f"{path} does not hold images and labels.")
    return images, labels


def _cache_file(data_dir: Path, name: str, split: str) -> Path:
    return data_dir / "ae_jax" / f"{name}-{split}.safetensors"


def is_array_file(name: str) -> bool:
    """Whether the name of a dataset is the path of a user's file."""
    return name.endswith((".npy", ".npz"))


def _folders(data_dir: PathLike | None, manual_dir: PathLike | None) -> tuple[Path, Path | None]:
    data = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    manual = manual_dir or os.environ.get("AE_JAX_MANUAL_DIR")
    return _expanded(data, "--data-dir"), _expanded(manual, "--manual-dir") if manual else None


def _expanded(path: PathLike, flag: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path} is in a home directory that does not exist; pass another {flag}.") from error
