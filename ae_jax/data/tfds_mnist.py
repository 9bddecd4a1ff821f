"""MNIST and its variants through TensorFlow Datasets: availability check, preparation, reading.

A prepared dataset is an ordinary TFDS directory (`mnist/3.0.1`) that `tfds.data_source("mnist")` opens. Without
ArrayRecord, its format, the official files are read instead: verified by the same checksums, and in the order of TFDS.

Import this module lazily: it imports `tensorflow_datasets`.
"""

import contextlib
import importlib.util
import io
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import requests
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.hashing import Hasher
from tqdm import tqdm

from ae_jax.data.tfds_builders import (
    make_builder,
    num_examples,
    official_files,
    official_readers,
    official_url,
    version_folder,
)
from ae_jax.errors import InputError
from ae_jax.system.atomic import ABANDONED_SECONDS
from ae_jax.types import HostImages, HostLabels

_PROBE_SECONDS = 5.0


def has_array_record() -> bool:
    """Whether prepared datasets can be read: there is no ArrayRecord for Windows."""
    return importlib.util.find_spec("array_record") is not None


def is_prepared(name: str, data_dir: Path) -> bool:
    """Whether `data_dir` holds the dataset; raises `InputError` if not as ArrayRecord or with corrupt metadata."""
    folder = version_folder(name, data_dir)
    info = folder / "dataset_info.json"
    if not has_array_record() or not info.exists():
        return False
    try:
        file_format = json.loads(info.read_text()).get("fileFormat", "tfrecord")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{info} is corrupt ({error}); delete {folder} to prepare it again.") from error
    if file_format != "array_record":
        raise InputError(
            f"{folder} was prepared as {file_format}, which cannot be read without TensorFlow; "
            "choose another --data-dir, where the dataset will be prepared."
        )
    return True


def can_prepare(name: str, manual_dir: Path | None) -> bool:
    """Whether the official files are in `manual_dir` (`InputError` if not) or, if it is None, the server responds."""
    if manual_dir is None:
        return _is_reachable(name)
    missing = [file for file in official_files(name) if not (manual_dir / file).is_file()]
    if missing:
        raise InputError(f"{manual_dir} lacks {', '.join(missing)}; --manual-dir needs the dataset's official files.")
    return True


def prepare(name: str, data_dir: Path, manual_dir: Path | None) -> None:
    """Prepare the dataset in `data_dir` from the files in `manual_dir` or a download, verifying checksums.

    Raises:
      InputError: a file is not the official one, the download failed, or `data_dir` is not writable.
    """
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, force_checksums_validation=True)
    _remove_abandoned(data_dir / name)
    config_list = data_dir / name.partition("/")[0] / ".config" / "metadata.json"
    extracted = data_dir / "downloads" / "extracted"
    try:
        with _explained(name, data_dir), _quiet_tfds(), _remove_on_failure(config_list, data_dir / name, extracted):
            make_builder(name, data_dir).download_and_prepare(download_config=config)
    except InputError:
        if not is_prepared(name, data_dir):  # by another process meanwhile
            raise


def read_official(name: str, split: str, data_dir: Path, manual_dir: Path | None) -> tuple[HostImages, HostLabels]:
    """Read all images and labels from the files in `manual_dir` or a download, as `prepare` and `read` would.

    Raises:
      InputError: as for `prepare`.
    """
    builder, downloads = make_builder(name, data_dir), data_dir / "downloads"
    with _explained(name, data_dir), _quiet_tfds(), _remove_on_failure(downloads / "extracted"):
        manager = tfds.download.DownloadManager(
            download_dir=downloads,
            manual_dir=manual_dir,
            url_infos=builder.url_infos,
            dataset_name=builder.name,
            force_checksums_validation=True,
        )
        images, labels = official_readers(builder, manager)[split]()
    order = sorted(range(len(images)), key=Hasher(split).hash_key)  # of the files that TFDS writes
    return _upright(name, images[order][..., None]), labels[order].astype(np.int32)


@contextlib.contextmanager
def _explained(name: str, data_dir: Path) -> Iterator[None]:
    """Raise `InputError` if the official files are unavailable or not the official ones, or `data_dir` not writable."""
    try:
        yield
    except NonMatchingChecksumError as error:
        message, *_ = str(error).split("\nTo debug")
        raise InputError(f"{' '.join(message.split())}. Replace the file with the official one.") from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise InputError(f"download of {name} failed ({error}); try again, or pass --manual-dir.") from error
    except OSError as error:
        raise InputError(f"{data_dir} cannot be written ({error}); choose another --data-dir.") from error


def read(name: str, split: str, data_dir: Path) -> tuple[HostImages, HostLabels]:
    """Read all images and labels of a prepared dataset, in TFDS's order; EMNIST's come upright.

    Raises:
      InputError: the dataset is corrupt; ArrayRecord chunks and PNG images contain checksums.
    """
    try:
        images, labels, expected = _read(name, split, data_dir)
    except Exception as error:  # from TFDS, ArrayRecord, Pillow or the file system
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _corrupt(name, data_dir, problem[:200]) from error
    if len(images) != expected:
        raise _corrupt(name, data_dir, f"{len(images)} examples for {split} instead of {expected}")
    return images, labels


def _read(name: str, split: str, data_dir: Path) -> tuple[HostImages, HostLabels, int]:
    """Return the images, the labels and their expected number."""
    decoders = {"image": tfds.decode.SkipDecoding()}
    builder = make_builder(name, data_dir)
    source = builder.as_data_source(split, decoders=decoders)
    images = np.empty((len(source), 28, 28, 1), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in tqdm(range(0, len(source), 1000), f"Reading {name} {split}", disable=None, leave=False):
        stop = min(start + 1000, len(source))
        records = source.__getitems__(range(start, stop))
        images[start:stop, :, :, 0] = _decode_pngs([record["image"] for record in records])
        labels[start:stop] = [record["label"] for record in records]
    return _upright(name, images), labels, num_examples(builder, split)


def _upright(name: str, images: HostImages) -> HostImages:
    """EMNIST's images are transposed in its files and in TFDS."""
    return np.ascontiguousarray(images.transpose(0, 2, 1, 3)) if name.startswith("emnist/") else images


def _decode_pngs(contents: list[bytes]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(content), formats=("PNG",))) for content in contents])


def _remove_abandoned(folder: Path) -> None:
    """Delete the temporary directories of TFDS preparations that were killed."""
    for path in folder.glob("incomplete.*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                shutil.rmtree(path)


def _corrupt(name: str, data_dir: Path, problem: str) -> InputError:
    return InputError(f"{data_dir / name} is corrupt ({problem}); delete it to prepare it again.")


def _is_reachable(name: str) -> bool:
    """Whether the server responds within `_PROBE_SECONDS`; in a thread, as name resolution can take minutes to fail."""
    url, responses = official_url(name), []

    def probe() -> None:
        with contextlib.suppress(requests.RequestException):
            responses.append(requests.head(url, timeout=_PROBE_SECONDS, allow_redirects=True).ok)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return responses == [True]


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Suppress TFDS's output except progress bars on a terminal; in a log file each redraw would be a line."""
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def _remove_on_failure(*paths: Path) -> Iterator[None]:
    """On an error in the block, remove those of `paths` and their parents that are new, and empty if directories."""
    new = [path for each in paths for path in (each, *each.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):
                path.unlink() if path.is_file() else path.rmdir()
        raise
