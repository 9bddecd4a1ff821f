"""User-supplied images from `.npy`, `.npz` and `.png` files."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ae_jax.data.stored_images import AnyImages, StoredImages
from ae_jax.errors import InputError
from ae_jax.types import HostImages, HostLabels

_NPY_MAGIC = np.lib.format.MAGIC_PREFIX
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


def read_array_file(path: Path, split: str) -> tuple[AnyImages, HostLabels | None]:
    """The images of one split, "train" or "test", and their labels if the file has any.

    A `.npy` file holds the images, which are memory-mapped. A `.npz` file holds `images` (with or without `labels`), a
    single array, or the keys of Keras's `mnist.npz`: `x_train`, `y_train`, `x_test`, `y_test`. In a file without
    splits every tenth image, from the first on, is a test image.

    Raises:
      InputError: the file is missing or corrupt, needs pickle, or does not hold images.
    """
    arrays = _load(path)
    if {"x_train", "x_test"} <= arrays.keys():
        images = _check_images(path, arrays[f"x_{split}"])
        return images, _check_labels(path, arrays.get(f"y_{split}"), len(images))

    images = _check_images(path, _select_images(path, arrays))
    labels = _check_labels(path, arrays.get("labels"), len(images))
    if len(images) < 2:
        raise InputError(f"{path} holds one image; at least two are needed, one of them for testing.")
    rows = np.flatnonzero((np.arange(len(images)) % 10 == 0) == (split == "test"))
    if isinstance(images, np.memmap) and images.flags.c_contiguous:
        return StoredImages(path, images.offset, rows), None
    return images[rows], None if labels is None else labels[rows]


def read_images(path: Path) -> HostImages:
    """All images of a `.png`, `.npy` or `.npz` file (of `mnist.npz` the test images); errors as `read_array_file`."""
    if path.suffix == ".png":
        return _read_png(path)
    if path.suffix not in (".npy", ".npz"):
        raise InputError(f"{path} is not a .npy, .npz or .png file; save the images as one.")
    arrays = _load(path)
    return np.array(_check_images(path, arrays["x_test"] if "x_test" in arrays else _select_images(path, arrays)))


def _read_png(path: Path) -> HostImages:
    try:
        with Image.open(path, formats=("PNG",)) as image:  # Pillow gives EPS to Ghostscript, whatever the name's suffix
            if image.size != (28, 28) or image.mode not in _PNG_MODES:
                width, height = image.size
                found = f"{width}×{height} pixels of mode {image.mode}"
                raise InputError(f"{path} has {found}; an image must be 28×28 pixels of 8 bits, white on black.")
            return np.asarray(image.convert("L")).reshape(1, 28, 28, 1)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give the path of a .npy, .npz or .png file.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {str(error).splitlines()[0]}.") from error


def _load(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            if file.read(len(_NPY_MAGIC)) == _NPY_MAGIC:
                return {"images": np.load(path, mmap_mode="r", allow_pickle=False)}
            file.seek(0)
            return dict(np.load(file, allow_pickle=False))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give the path of a .npy or .npz file.") from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        reason = "it is empty" if isinstance(error, EOFError) else str(error).split("\n")[0].rstrip(".")
        raise InputError(
            f"{path} cannot be read as arrays without pickle: {reason}. Save it with numpy.save or numpy.savez."
        ) from error


def _select_images(path: Path, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if "images" in arrays:
        return arrays["images"]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    found = ", ".join(arrays) or "nothing"
    raise InputError(f"{path} holds {found}; name the image array 'images', or 'x_train' and 'x_test'.")


def _check_images(path: Path, images: np.ndarray) -> HostImages:
    if images.dtype != np.uint8 or images.shape[1:] not in {(28, 28), (28, 28, 1)} or images.size == 0:
        raise InputError(
            f"{path} holds {images.dtype}{list(images.shape)}; images must be uint8[n, 28, 28] or uint8[n, 28, 28, 1]."
        )
    return images.reshape(-1, 28, 28, 1)


def _check_labels(path: Path, labels: np.ndarray | None, n: int) -> HostLabels | None:
    if labels is None:
        return None
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise InputError(f"{path} has labels {labels.dtype}{list(labels.shape)}; for {n} images they must be int[{n}].")
    return labels.astype(np.int32)
