"""TFDS's own builders of MNIST and its relatives, without TensorFlow.

TFDS's need TensorFlow in two places: to unpack archives and to encode PNG. The builders here are theirs, with the
standard library and Pillow in those places, and write ArrayRecord, the format that TFDS reads without TensorFlow.

Import this module only where a dataset has to be prepared: it imports `tensorflow_datasets`.
"""

import gzip
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

_NUM_EXAMPLES = {"train": 60_000, "test": 10_000}  # of MNIST and what is made like it
_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def official_files(name: str) -> list[str]:
    """The files that a dataset's server has."""
    return ["gzip.zip"] if _is_emnist(name) else [file for files in _FILES.values() for file in files]


def official_url(name: str) -> str:
    """Where the first of them is."""
    url = str(_base(name).URL)
    return url if _is_emnist(name) else url + official_files(name)[0]


def version_folder(name: str, data_dir: Path) -> Path:
    """Where TFDS prepares a dataset."""
    return data_dir / name / str(_base(name).VERSION)


def num_examples(builder: Any, split: str) -> int:
    """How many images the split has, whatever a prepared folder says."""
    if builder.name == "emnist":
        return int(getattr(builder.builder_config, f"{split}_examples"))
    return _NUM_EXAMPLES[split]


def make_builder(name: str, data_dir: Path) -> Any:
    """The builder of `mnist`, `fashion_mnist`, `kmnist` or, with a config, of `emnist/letters` and its like."""
    dataset, _, config = name.partition("/")
    base = _base(name)
    examples = _emnist_examples if _is_emnist(name) else _mnist_examples

    class Builder(base, skip_registration=True):  # type: ignore[call-arg, misc, valid-type]
        name = dataset
        pkg_dir_path = base.pkg_dir_path

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            return examples(self, dl_manager)

    return Builder(data_dir=data_dir, config=config or None, file_format="array_record")


def _base(name: str) -> Any:
    return tfds.builder_cls(name.partition("/")[0])


def _is_emnist(name: str) -> bool:
    return name.startswith("emnist/")


def _mnist_examples(builder: Any, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    urls = {split: [builder.URL + file for file in files] for split, files in _FILES.items()}
    files = dl_manager.download(urls)
    return {split: _from_files(files[split], num_examples(builder, split)) for split in _FILES}


def _from_files(files: Iterable[Path], n: int) -> Iterator[tuple[int, dict[str, Any]]]:
    images, labels = (Path(file).read_bytes() for file in files)
    yield from _examples(images, labels, n)


def _emnist_examples(builder: Any, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    path = Path(dl_manager.download(builder.URL))
    prefix = f"gzip/emnist-{builder.builder_config.name}"
    return {split: _from_zip(path, f"{prefix}-{split}", num_examples(builder, split)) for split in _FILES}


def _from_zip(path: Path, prefix: str, n: int) -> Iterator[tuple[int, dict[str, Any]]]:
    with zipfile.ZipFile(path) as archive:
        images, labels = (archive.read(f"{prefix}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    yield from _examples(images, labels, n)


def _examples(images: bytes, labels: bytes, n: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The first `n` examples of two gzipped IDX files: some of EMNIST's hold more than TFDS takes."""
    pixels = _read_idx(images, header_bytes=16).reshape(-1, 28, 28)[:n]
    for i, (image, label) in enumerate(zip(pixels, _read_idx(labels, header_bytes=8)[:n], strict=True)):
        yield i, {"image": Image.fromarray(image), "label": int(label)}


def _read_idx(content: bytes, header_bytes: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(content), np.uint8, offset=header_bytes)
