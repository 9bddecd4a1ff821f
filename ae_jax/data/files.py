"""A user's images in `.npy`, `.npz` and `.csv` files, and their split into training and test images."""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from ae_jax.errors import InputError, reading
from ae_jax.types import HostImages, HostLabels

_INT32 = np.iinfo(np.int32)


def read_split(path: Path, split: str) -> tuple[HostImages, HostLabels | None]:
    """The training or test images of a `.npy`, `.npz` or `.csv` file, and their labels if it has any.

    A `.npy` file holds the images. A `.npz` file holds `images` (with or without `labels`), a single array, or the keys
    of Keras's `mnist.npz`: `x_train`, `y_train`, `x_test`, `y_test`. A `.csv` file is one of Kaggle's: a header, then
    the pixels of an image per row, after its label if the first column is called `label`. Every tenth image, from the
    first on, is a test image, unless the file is split as Keras's. Images are `u8[n, 28, 28, 1]`, labels `i32[n]` or
    None.

    Raises:
      InputError: the file cannot be read or needs pickle, does not hold images and labels, or has one image to split.
    """
    images, labels, is_split = _read(path, split)
    if is_split:
        return images, labels
    if len(images) < 2:
        raise InputError(f"{path} holds one image; at least two are needed, one of them for testing.")
    rows = (np.arange(len(images)) % 10 == 0) == (split == "test")
    return images[rows], None if labels is None else labels[rows]


def read_images(path: Path) -> HostImages:
    """All images of such a file, of Keras's `mnist.npz` the test images; errors as for `read_split`."""
    return _read(path, "test")[0]


def _read(path: Path, split: str) -> tuple[HostImages, HostLabels | None, bool]:
    """The images of `split`, or all if the file has no splits; their labels, and whether it has."""
    with reading(path, "Save one array: numpy.save(file, numpy.stack(images))."), path.open("rb") as file:
        content = _read_csv(file) if path.suffix == ".csv" else np.load(file, allow_pickle=False)
        arrays = {"images": content} if isinstance(content, np.ndarray) else content
        names, is_split = list(arrays), "x_train" in arrays and "x_test" in arrays
        images_name, labels_name = (f"x_{split}", f"y_{split}") if is_split else ("images", "labels")
        if images_name not in names:
            if len(names) != 1:
                found = ", ".join(names) or "no array"
                raise InputError(f"{path} holds {found}; name the image array 'images', or 'x_train' and 'x_test'.")
            (images_name,) = names
        images, labels = arrays[images_name], arrays[labels_name] if labels_name in names else None
    _check_images(f"{images_name} in {path}" if names != ["images"] else str(path), images)
    return images.reshape(-1, 28, 28, 1), None if labels is None else _int32(path, labels, len(images)), is_split


def _check_images(name: str, images: np.ndarray) -> None:
    """Raise `InputError`, with the line of NumPy that helps, unless these are pixels from 0 to 255 of 28×28 images."""
    if images.shape[1:] not in {(28, 28), (28, 28, 1), (784,)} or len(images) == 0:
        advice = ": save images.reshape(-1, 28, 28)" if images.shape[1:] == (1, 28, 28) else ""
        raise InputError(f"{name} has the shape {[*images.shape]}; images must be [n, 28, 28] or [n, 784]{advice}.")
    low, high = (float(images.min()), float(images.max())) if images.dtype.kind in "biuf" else (np.nan, np.nan)
    if images.dtype == np.uint8 and high != 1:
        return
    found = f"{name} is {images.dtype} from {low:g} to {high:g}; pixels must be uint8 from 0 to 255"
    if low >= 0 and high <= 1:
        raise InputError(f"{found}: save numpy.rint(images * 255.0).astype('uint8').")
    if low >= -1 and high <= 1:
        raise InputError(f"{found}: save numpy.rint((images + 1) * 127.5).astype('uint8').")
    raise InputError(found + (": save numpy.rint(images).astype('uint8')." if low >= 0 and high <= 255 else "."))


def _read_csv(file: BinaryIO) -> np.ndarray | dict[str, np.ndarray]:
    """The images of a CSV file of Kaggle's, and its labels if the first column is called label."""
    header = file.readline()
    if header.strip().replace(b",", b"").isdigit():
        raise InputError(f"{file.name} has no header; put a first line 'label,pixel0,…', or 'pixel0,…' without labels.")
    has_labels = header.startswith(b"label,")
    values = np.loadtxt(file, np.int64, delimiter=",", ndmin=2)
    pixels = values[:, has_labels:]
    images = pixels.astype(np.uint8) if ((pixels >= 0) & (pixels <= 255)).all() else pixels
    return {"images": images, "labels": values[:, 0]} if has_labels else images


def _int32(path: Path, labels: np.ndarray, n: int) -> HostLabels:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        found = f"{labels.dtype}{list(labels.shape)}"
        advice = ": save labels.argmax(1)" if labels.ndim == 2 else ": save labels.astype('int32')"
        raise InputError(f"{path} has labels {found}; for {n} images they must be int[{n}]{advice}.")
    if labels.min() < _INT32.min or labels.max() > _INT32.max:
        raise InputError(f"{path} has labels from {labels.min()} to {labels.max()}; they must fit into 32 bits.")
    return labels.astype(np.int32)
