"""TFDS dataset builders of MNIST and its variants that do not need TensorFlow.

TFDS's builders use TensorFlow to unpack archives and to encode PNG. These subclasses use the standard library and
Pillow instead, and write ArrayRecord, which TFDS reads without TensorFlow.

Import this module lazily: it imports `tensorflow_datasets`.
"""

import functools
import gzip
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ae_jax.types import PathLike

# Reads the pixels u8[n, 28, 28] and labels u8[n] of a split.
_Reader: TypeAlias = Callable[[], tuple[np.ndarray, np.ndarray]]
_NUM_EXAMPLES = {"train": 60_000, "test": 10_000}  # of MNIST, Fashion-MNIST and KMNIST
_KINDS = ("images-idx3", "labels-idx1")
_FILES = {
    split: [f"{name}-{kind}-ubyte.gz" for kind in _KINDS] for split, name in (("train", "train"), ("test", "t10k"))
}


def official_files(name: str) -> list[str]:
    """The names of the official files of a dataset."""
    return ["gzip.zip"] if _is_emnist(name) else [file for files in _FILES.values() for file in files]


def official_url(name: str) -> str:
    """The URL of the first official file."""
    url = str(_base(name).URL)
    return url if _is_emnist(name) else url + official_files(name)[0]


def version_folder(name: str, data_dir: Path) -> Path:
    """The directory in which TFDS prepares a dataset."""
    return data_dir / name / str(_base(name).VERSION)


def num_examples(builder: Any, split: str) -> int:
    """The official number of images in a split, independent of any prepared directory."""
    if builder.name == "emnist":
        return int(getattr(builder.builder_config, f"{split}_examples"))
    return _NUM_EXAMPLES[split]


def make_builder(name: str, data_dir: Path) -> Any:
    """The builder of `mnist`, `fashion_mnist`, `kmnist` or a config of EMNIST such as `emnist/letters`."""
    dataset, _, config = name.partition("/")
    base = _base(name)

    class Builder(base, skip_registration=True):  # type: ignore[call-arg, misc, valid-type]
        name = dataset
        pkg_dir_path = base.pkg_dir_path

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            return {split: _examples(read) for split, read in official_readers(self, dl_manager).items()}

    return Builder(data_dir=data_dir, config=config or None, file_format="array_record")


def official_readers(builder: Any, dl_manager: Any) -> dict[str, _Reader]:
    """Download the official files and verify them; return for each split what reads it."""
    read = _emnist_readers if builder.name == "emnist" else _mnist_readers
    return read(builder, dl_manager)


def _base(name: str) -> Any:
    return tfds.builder_cls(name.partition("/")[0])


def _is_emnist(name: str) -> bool:
    return name.startswith("emnist/")


def _mnist_readers(builder: Any, dl_manager: Any) -> dict[str, _Reader]:
    urls = {split: [builder.URL + file for file in files] for split, files in _FILES.items()}
    files = dl_manager.download(urls)
    return {split: functools.partial(_read_files, files[split], num_examples(builder, split)) for split in _FILES}


def _read_files(files: Iterable[PathLike], n: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (Path(file).read_bytes() for file in files)
    return _read_idx(images, labels, n)


def _emnist_readers(builder: Any, dl_manager: Any) -> dict[str, _Reader]:
    path = Path(dl_manager.download(builder.URL))
    prefix = f"gzip/emnist-{builder.builder_config.name}"
    return {
        split: functools.partial(_read_zip, path, f"{prefix}-{split}", num_examples(builder, split)) for split in _FILES
    }


def _read_zip(path: Path, prefix: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        images, labels = (archive.read(f"{prefix}-{kind}-ubyte.gz") for kind in _KINDS)
    return _read_idx(images, labels, n)


def _read_idx(images: bytes, labels: bytes, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the first `n` examples of two gzipped IDX files; some of EMNIST's files hold more than TFDS uses."""
    pixels, classes = (
        np.frombuffer(gzip.decompress(content), np.uint8, offset=header_bytes)
        for content, header_bytes in ((images, 16), (labels, 8))
    )
    return pixels.reshape(-1, 28, 28)[:n], classes[:n]


def _examples(read: _Reader) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, (image, label) in enumerate(zip(*read(), strict=True)):
        yield i, {"image": Image.fromarray(image), "label": int(label)}
