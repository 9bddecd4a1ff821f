"""User-supplied images from `.npy` and `.npz` files, or from a picture."""

from pathlib import Path

import numpy as np

from ae_jax.data.numpy_files import array_names, open_array
from ae_jax.data.pictures import PICTURE_SUFFIXES, read_picture
from ae_jax.data.stored_images import AnyImages, StoredImages
from ae_jax.errors import InputError
from ae_jax.types import HostImages, HostLabels

_INT32 = np.iinfo(np.int32)
_MAX_LISTED = 10  # names in a message


def read_array_file(path: Path, split: str) -> tuple[AnyImages, HostLabels | None]:
    """The images of one split, "train" or "test", and their labels if the file has any.

    A `.npy` file holds the images, which are memory-mapped. A `.npz` file holds `images` (with or without `labels`), a
    single array, or the keys of Keras's `mnist.npz`: `x_train`, `y_train`, `x_test`, `y_test`. In a file without
    splits every tenth image, from the first on, is a test image.

    Raises:
      InputError: the file is missing or corrupt, needs pickle, or does not hold images.
    """
    names = _names(path)
    if {"x_train", "x_test"} <= set(names):
        images = _read_images(path, f"x_{split}")
        return images, _read_labels(path, f"y_{split}", names, len(images))

    images = _read_images(path, _image_name(path, names))
    labels = _read_labels(path, "labels", names, len(images))
    if len(images) < 2:
        raise InputError(f"{path} holds one image; at least two are needed, one of them for testing.")
    rows = np.flatnonzero((np.arange(len(images)) % 10 == 0) == (split == "test"))
    if isinstance(images, np.memmap) and images.flags.c_contiguous:
        return StoredImages(path, images.offset, rows), None
    return images[rows], None if labels is None else labels[rows]


def read_images(path: Path) -> HostImages:
    """All images of a `.npy` or `.npz` file (of `mnist.npz` the test images), or the digit in a PNG or JPEG picture.

    Errors are as in `read_array_file` and `read_picture`.
    """
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return read_picture(path)
    if path.suffix not in (".npy", ".npz"):
        raise InputError(f"{path} is not a .npy, .npz, .png or .jpg file; save the images as one.")
    names = _names(path)
    return np.array(_read_images(path, "x_test" if "x_test" in names else _image_name(path, names)))


def _names(path: Path) -> list[str]:
    try:
        return array_names(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give the path of a .npy or .npz file.") from error


def _image_name(path: Path, names: list[str]) -> str:
    if "images" in names:
        return "images"
    if len(names) == 1:
        return names[0]
    found = ", ".join(names[:_MAX_LISTED]) or "no array"
    raise InputError(f"{path} holds {found}; name the image array 'images', or 'x_train' and 'x_test'.")


def _read_images(path: Path, name: str) -> HostImages:
    stored = open_array(path, name)
    if stored.dtype != np.uint8 or stored.shape[1:] not in {(28, 28), (28, 28, 1)} or stored.shape[0] == 0:
        found = f"{stored.dtype}{list(stored.shape)}"
        raise InputError(f"{path} holds {found}; images must be uint8[n, 28, 28] or uint8[n, 28, 28, 1].")
    return stored.read().reshape(-1, 28, 28, 1)


def _read_labels(path: Path, name: str, names: list[str], n: int) -> HostLabels | None:
    if name not in names:
        return None
    stored = open_array(path, name)
    if stored.shape != (n,) or stored.dtype.kind not in "iu":
        found = f"{stored.dtype}{list(stored.shape)}"
        raise InputError(f"{path} has labels {found}; for {n} images they must be int[{n}].")
    labels = stored.read()
    if labels.min() < _INT32.min or labels.max() > _INT32.max:
        raise InputError(f"{path} has labels from {labels.min()} to {labels.max()}; they must fit into 32 bits.")
    return labels.astype(np.int32)
