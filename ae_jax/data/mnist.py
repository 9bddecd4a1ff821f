"""MNIST and its variants through TensorFlow Datasets, without TensorFlow: availability check, preparation, reading.

TFDS's builders use TensorFlow to unpack archives and to encode PNG. The subclasses here use the standard library and
Pillow instead, and write ArrayRecord, which TFDS reads without TensorFlow: a prepared dataset is an ordinary TFDS
directory (`mnist/3.0.1`) that `tfds.data_source("mnist")` opens. Without ArrayRecord, which there is not for Windows,
the official files are read instead: verified by the same checksums, and in the order of TFDS.

Import this module lazily: it imports `tensorflow_datasets`.
"""

import contextlib
import gzip
import hashlib
import http.client
import importlib.util
import io
import itertools
import json
import logging
import ssl
import sys
import threading
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.hashing import Hasher
from tqdm import tqdm

from ae_jax.errors import InputError, reading, reason
from ae_jax.types import HostImages, HostLabels

_PROBE_SECONDS = 5.0  # TFDS itself would retry for minutes
_SUFFIXES = ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz")
_PREFIXES = {"train": "train", "test": "t10k"}  # of the files of MNIST, Fashion-MNIST and KMNIST
_SHA256 = {  # of MNIST's files, unpacked
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_log = logging.getLogger(__name__)


def official_files(name: str) -> list[str]:
    """The names of a dataset's official files."""
    if name.startswith("emnist/"):
        return ["gzip.zip"]
    return [f"{prefix}-{suffix}" for prefix in _PREFIXES.values() for suffix in _SUFFIXES]


def is_prepared(name: str, data_dir: Path) -> bool:
    """Whether `data_dir` holds the dataset; raises `InputError` if not as ArrayRecord or with corrupt metadata."""
    folder = data_dir / name / str(_base(name).VERSION)
    info = folder / "dataset_info.json"
    if not _has_array_record() or not info.exists():
        return False
    with reading(info, f"Delete {folder} to prepare the dataset again."):
        file_format = json.loads(info.read_text()).get("fileFormat", "tfrecord")
    if file_format != "array_record":
        raise InputError(
            f"{folder} was prepared as {file_format}, which cannot be read without TensorFlow; "
            "choose another `data_dir`, where the dataset will be prepared."
        )
    return True


def can_prepare(name: str, manual_dir: Path | None) -> bool:
    """Whether the official files are in `manual_dir` (`InputError` if not) or, if it is None, the server responds."""
    if manual_dir is None:
        return _is_reachable(name)
    files = official_files(name)
    missing = [
        file for file in files if not (manual_dir / file).is_file() and _unpacked(name, manual_dir, file) is None
    ]
    if missing:
        raise InputError(f"{manual_dir} lacks {', '.join(missing)}; `manual_dir` needs the dataset's official files.")
    return True


def read(name: str, split: str, data_dir: Path, manual_dir: Path | None) -> tuple[HostImages, HostLabels]:
    """Read all images and labels of a split in TFDS's order, EMNIST's upright; prepare the dataset if it is not.

    Errors as for `load_dataset`, also if a file in `manual_dir` is not the official one.
    """
    if not is_prepared(name, data_dir):
        if not can_prepare(name, manual_dir):
            raise InputError(
                f"{name} is not in {data_dir} and its server does not respond; connect to the network, give the "
                f"directory with {', '.join(official_files(name))} as `manual_dir`, or choose glyphs as `dataset`."
            )
        _log.info("Preparing %s in %s", name, data_dir)
        if _has_array_record():
            _prepare(name, data_dir, manual_dir)
    if _has_array_record():
        images, labels = _read_prepared(name, split, data_dir)
    else:
        images, labels = _read_official(name, split, data_dir, manual_dir)
    if name.startswith("emnist/"):  # transposed in its files and in TFDS
        images = images.swapaxes(1, 2)
    return np.ascontiguousarray(images[..., None]), labels.astype(np.int32)


def _prepare(name: str, data_dir: Path, manual_dir: Path | None) -> None:
    """Prepare the dataset in `data_dir` from the files in `manual_dir` or a download, verifying checksums."""
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, force_checksums_validation=True)
    try:
        with _preparing(name, data_dir):
            _make_builder(name, data_dir, manual_dir).download_and_prepare(download_config=config)
    except InputError:
        if not is_prepared(name, data_dir):  # by another process meanwhile
            raise


def _read_prepared(name: str, split: str, data_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a prepared dataset; ArrayRecord chunks and PNG images contain checksums."""
    with reading(data_dir / name, "Delete it to prepare it again."):
        builder = _make_builder(name, data_dir)
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        records = tqdm(source.__getitems__(range(len(source))), f"Reading {name} {split}", disable=None, leave=False)
        examples = [(np.asarray(Image.open(io.BytesIO(record["image"]))), record["label"]) for record in records]
        images, labels = map(np.stack, zip(*examples, strict=True))
    return images, labels


def _read_official(name: str, split: str, data_dir: Path, manual_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Read the files in `manual_dir` or a download, as `_prepare` and `_read_prepared` would."""
    builder = _make_builder(name, data_dir)
    with _preparing(name, data_dir):
        manager = tfds.download.DownloadManager(
            download_dir=data_dir / "downloads",
            manual_dir=manual_dir,
            url_infos=builder.url_infos,
            dataset_name=builder.name,
            force_checksums_validation=True,
        )
        images, labels = _read_files(builder, manager, split, manual_dir)
    order = sorted(range(len(images)), key=Hasher(split).hash_key)  # of the files that TFDS writes
    return images[order], labels[order]


def _make_builder(name: str, data_dir: Path, manual_dir: Path | None = None) -> Any:
    """The builder of `mnist`, `fashion_mnist`, `kmnist` or a config of EMNIST such as `emnist/letters`."""
    dataset, _, config = name.partition("/")
    base = _base(name)

    class Builder(base, skip_registration=True):  # type: ignore[call-arg, misc, valid-type]
        name = dataset
        pkg_dir_path = base.pkg_dir_path

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            return {split: _examples(*_read_files(self, dl_manager, split, manual_dir)) for split in _PREFIXES}

    return Builder(data_dir=data_dir, config=config or None, file_format="array_record")


def _base(name: str) -> Any:
    return tfds.builder_cls(name.partition("/")[0])


def _read_files(builder: Any, manager: Any, split: str, manual_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Find or download the official files of a split, verify their checksums, and read images and labels."""
    if builder.name == "emnist":
        archive, prefix = manager.download(builder.URL), f"gzip/emnist-{builder.builder_config.name}-{split}"
        contents = [_gunzip(zipfile.Path(archive, f"{prefix}-{suffix}").read_bytes()) for suffix in _SUFFIXES]
    else:
        names = [f"{_PREFIXES[split]}-{suffix}" for suffix in _SUFFIXES]
        contents = [x for name in names if (x := _unpacked(builder.name, manual_dir, name)) is not None]
        if len(contents) < len(names):
            contents = [_gunzip(file.read_bytes()) for file in manager.download([f"{builder.URL}{x}" for x in names])]
    images, labels = (np.frombuffer(content, np.uint8, offset=n) for content, n in zip(contents, (16, 8), strict=True))
    n = getattr(builder.builder_config, f"{split}_examples", None)  # some of EMNIST's files hold more than TFDS uses
    return images.reshape(-1, 28, 28)[:n], labels[:n]


def _unpacked(name: str, manual_dir: Path | None, file: str) -> bytes | None:
    """The content of an official file of MNIST in another wrapping, identified by its digest; None if there is none.

    Unpacked, with Kaggle's dotted name, packed twice, or in the folders of torchvision.
    """
    stem = file.removesuffix(".gz")
    if name != "mnist" or manual_dir is None:
        return None
    for folder, each in itertools.product((".", "raw", "MNIST/raw"), (file, stem, stem.replace("-idx", ".idx"))):
        if (path := manual_dir / folder / each).is_file():
            with contextlib.suppress(OSError, EOFError, zlib.error):  # a corrupt one is not it
                content = _gunzip(path.read_bytes())
                if hashlib.sha256(content).hexdigest() == _SHA256[stem]:
                    return content
    return None


def _gunzip(content: bytes) -> bytes:
    while content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    return content


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield i, {"image": Image.fromarray(image), "label": int(label)}


@contextlib.contextmanager
def _preparing(name: str, data_dir: Path) -> Iterator[None]:
    """Suppress TFDS's output but progress bars on a terminal; raise `InputError` for a download or write that fails."""
    if not sys.stderr.isatty():  # in a log file, each redraw would be a line
        tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except (OSError, NonMatchingChecksumError, tfds.download.DownloadError) as error:  # OSError: also the network's
        raise InputError(
            f"{name} cannot be prepared in {data_dir}: {reason(error).rstrip(':')}. Try again, choose another "
            "`data_dir`, or give the directory with the official files as `manual_dir`."
        ) from error


def _has_array_record() -> bool:
    return importlib.util.find_spec("array_record") is not None


def _is_reachable(name: str) -> bool:
    """Whether the server responds within `_PROBE_SECONDS`; in a thread, as name resolution can take minutes to fail."""
    url = _base(name).URL + ("" if name.startswith("emnist/") else official_files(name)[0])
    responses = []

    def probe() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PROBE_SECONDS):
                responses.append(True)
        except (OSError, http.client.HTTPException) as error:
            # Python from python.org has no certificates on macOS until they are installed; TFDS brings its own.
            responses.append(isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError))

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return responses == [True]
