"""User-supplied PNG and JPEG pictures: decoded to greyscale within bounded memory, and brought to MNIST's form."""

import logging
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from PIL import Image, ImageOps

from ae_jax.errors import InputError
from ae_jax.system.regular_file import check_regular_file
from ae_jax.types import HostImages, Picture

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")  # in upper case too
_MAX_PNG = 25 * 10**6  # pixels; of 4 bytes in memory
_MAX_JPEG = 64 * 10**6  # pixels; libjpeg holds all coefficients of a progressive one, 3 to 8 bytes per pixel
_DRAFT_SIDE = 512  # pixels; a JPEG is decoded at 1/2, 1/4 or 1/8 of its size if its longer side stays that long

_log = logging.getLogger(__name__)


def read_picture(path: Path) -> HostImages:
    """The digit in a picture of any size, u8[1, 28, 28, 1], see `digit_from_picture`.

    A warning says so if the picture has several shapes, of which the largest is used.

    Raises:
      InputError: the file is missing, corrupt or too large, is neither PNG nor JPEG, or shows no digit.
    """
    from ae_jax.data.digit import digit_from_picture  # here: it imports scipy.ndimage

    picture = _read_greyscale(path)
    try:
        digit = digit_from_picture(picture)
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from error
    if digit.num_shapes > 1:
        _log.warning("%s shows %d separate shapes: the largest one is used.", path, digit.num_shapes)
    return digit.image[None]


def _read_greyscale(path: Path) -> Picture:
    try:
        check_regular_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, which are bounded here, and of malformed metadata
            with Image.open(path, formats=("PNG", "JPEG")) as image:  # others may be EPS, for Ghostscript
                _check_size(path, image)
                return _greyscale(image)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has far too many pixels; resize it to about 1000×1000.") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give the path of a .npy, .npz, .png or .jpg file.") from error
    except Exception as error:  # Pillow and zlib raise many types for malformed files
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(f"{path} cannot be read as an image: {reason}.") from error


def _check_size(path: Path, image: Image.Image) -> None:
    width, height = image.size
    limit = _MAX_PNG if image.format == "PNG" else _MAX_JPEG
    if width * height > limit:
        found = f"{width:,}×{height:,} pixels, more than {limit // 10**6} million"
        raise InputError(f"{path} has {found}; resize it to about 1000×1000.")


def _greyscale(image: Image.Image) -> Picture:
    """The pixels of the first frame, upright, opaque, of 8 bits."""
    width, height = image.size
    scale = max(1, max(image.size) // _DRAFT_SIDE)
    image.draft(None, (max(1, width // scale), max(1, height // scale)))  # only a JPEG has one
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        return _to_8_bits(np.asarray(image))
    if "transparency" in image.info:  # a palette's entries or a colour
        image = image.convert("RGBA")
    if image.mode in ("LA", "RGBA"):
        image = _composite(image)
    return np.asarray(image.convert("L"))


def _to_8_bits(pixels: Integer[np.ndarray, "_ _"]) -> Picture:
    """16-bit pixels (i32 from older versions of Pillow), rounded to 8 bits: 65,535 / 255 = 257."""
    rounded = pixels.astype(np.uint32)
    rounded += 128
    rounded //= 257
    return rounded.astype(np.uint8)


def _composite(image: Image.Image) -> Image.Image:
    """Greyscale on white if what is visible is dark on average, otherwise on black."""
    grey, alpha = image.convert("L"), image.getchannel("A")
    counts = np.array(grey.histogram(alpha))
    is_dark = 2 * np.sum(counts * np.arange(256)) < 255 * np.sum(counts)
    return Image.composite(grey, Image.new("L", image.size, 255 if is_dark else 0), alpha)
