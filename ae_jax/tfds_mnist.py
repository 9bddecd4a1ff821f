"""MNIST and its relatives through TensorFlow Datasets, without TensorFlow.

TFDS's own builders need TensorFlow in two places: to unpack gzip and to encode PNG. The builders here are theirs, with
the standard library and Pillow in those places, and write ArrayRecord, the format that TFDS reads without TensorFlow.
The result is an ordinary TFDS folder (`mnist/3.0.1`) that `tfds.data_source("mnist")` opens.

Import this module only where a dataset has to be prepared: it imports `tensorflow_datasets`.
"""

import contextlib
import gzip
import io
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tqdm import tqdm

from ae_jax.atomic import ABANDONED_SECONDS
from ae_jax.errors import InputError
from ae_jax.types import HostImages, HostLabels

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_NUM_EXAMPLES = {"train": 60_000, "test": 10_000}
_PROBE_SECONDS = 5.0


def is_prepared(name: str, data_dir: Path) -> bool:
    """Whether `data_dir` holds the dataset in a format that can be read here.

    Raises:
      InputError: it is there, but as TFRecord, or damaged.
    """
    folder = data_dir / name / str(tfds.builder_cls(name).VERSION)
    info = folder / "dataset_info.json"
    if not info.exists():
        return False
    try:
        file_format = json.loads(info.read_text()).get("fileFormat", "tfrecord")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{info} is damaged ({error}); delete {folder} to prepare it anew.") from error
    if file_format != "array_record":
        raise InputError(
            f"{folder} was prepared as {file_format}, which cannot be read without TensorFlow; "
            "give another folder with --data-dir, and the dataset is prepared there."
        )
    return True


def can_prepare(name: str, manual_dir: Path | None) -> bool:
    """Whether the official files are in `manual_dir` or, where that is None, the dataset's server answers.

    Raises:
      InputError: `manual_dir` lacks some of them.
    """
    if manual_dir is None:
        return _is_reachable(name)
    missing = [file for files in FILES.values() for file in files if not (manual_dir / file).is_file()]
    if missing:
        raise InputError(f"{manual_dir} lacks {', '.join(missing)}; --manual-dir needs the dataset's official files.")
    return True


def prepare(name: str, data_dir: Path, manual_dir: Path | None) -> None:
    """Write the dataset to `data_dir` from the files in `manual_dir` or else from the network; checksums are verified.

    Raises:
      InputError: a file is not the official one, the download failed, or `data_dir` cannot be written.
    """
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, force_checksums_validation=True)
    _remove_abandoned(data_dir / name)
    try:
        with _quiet_tfds(), _no_empty_folders(data_dir / name, data_dir / "downloads" / "extracted"):
            _builder(name, data_dir).download_and_prepare(download_config=config)
    except NonMatchingChecksumError as error:
        what, *_ = str(error).split("\nTo debug")
        raise InputError(f"{' '.join(what.split())}. Replace the file with the official one.") from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise InputError(
            f"downloading {name} failed ({error}); try again, or give its files by --manual-dir."
        ) from error
    except OSError as error:
        if is_prepared(name, data_dir):  # another process was faster
            return
        raise InputError(f"{data_dir} cannot be written ({error}); give another folder with --data-dir.") from error


def read(name: str, split: str, data_dir: Path) -> tuple[HostImages, HostLabels]:
    """All images and labels of a prepared dataset, in TFDS's order.

    Raises:
      InputError: it is damaged. ArrayRecord's chunks have checksums, and so have the images.
    """
    try:
        images, labels = _read(name, split, data_dir)
    except Exception as error:  # of all the libraries between here and the disk
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _damaged(name, data_dir, problem[:200]) from error
    if len(images) != _NUM_EXAMPLES[split]:
        raise _damaged(name, data_dir, f"{len(images)} examples for {split} instead of {_NUM_EXAMPLES[split]}")
    return images, labels


def _read(name: str, split: str, data_dir: Path) -> tuple[HostImages, HostLabels]:
    decoders = {"image": tfds.decode.SkipDecoding()}
    source = _builder(name, data_dir).as_data_source(split, decoders=decoders)
    images = np.empty((len(source), 28, 28, 1), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in tqdm(range(0, len(source), 1000), f"Reading {name} {split}", disable=None, leave=False):
        stop = min(start + 1000, len(source))
        records = source.__getitems__(range(start, stop))
        images[start:stop, :, :, 0] = [np.asarray(Image.open(io.BytesIO(record["image"]))) for record in records]
        labels[start:stop] = [record["label"] for record in records]
    return images, labels


def _remove_abandoned(folder: Path) -> None:
    """Delete what TFDS left of datasets when it was killed while it prepared them."""
    for path in folder.glob("incomplete.*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                shutil.rmtree(path)


def _damaged(name: str, data_dir: Path, problem: str) -> InputError:
    return InputError(f"{data_dir / name} is damaged ({problem}); delete it to prepare it anew.")


def _is_reachable(name: str) -> bool:
    """Whether the server answers, within `_PROBE_SECONDS`: name resolution alone can take minutes to fail."""
    url = tfds.builder_cls(name).URL + FILES["train"][0]
    answers = []

    def ask() -> None:
        with contextlib.suppress(requests.RequestException):
            answers.append(requests.head(url, timeout=_PROBE_SECONDS, allow_redirects=True).ok)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return answers == [True]


def _builder(dataset: str, data_dir: Path) -> Any:
    base = tfds.builder_cls(dataset)

    class Builder(base, skip_registration=True):  # type: ignore[call-arg, misc, valid-type]
        name = dataset
        pkg_dir_path = base.pkg_dir_path

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            paths = dl_manager.download({split: [self.URL + file for file in files] for split, files in FILES.items()})
            return {split: self._generate_examples(*paths[split]) for split in FILES}

        def _generate_examples(self, images: Path, labels: Path) -> Iterator[tuple[int, dict[str, Any]]]:
            pixels = _read_idx(images, header_bytes=16).reshape(-1, 28, 28)
            for i, (image, label) in enumerate(zip(pixels, _read_idx(labels, header_bytes=8), strict=True)):
                yield i, {"image": Image.fromarray(image), "label": int(label)}

    return Builder(data_dir=data_dir, file_format="array_record")


def _read_idx(path: Path, header_bytes: int) -> np.ndarray:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header_bytes)


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Leave of TFDS's output its progress bars, and those on terminals only: in a log each redraw would be a line."""
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def _no_empty_folders(*folders: Path) -> Iterator[None]:
    """After a failure, remove what it left of `folders` and those above them, as far as they are new and empty."""
    new = [path for folder in folders for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
