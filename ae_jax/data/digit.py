"""A picture of a digit, brought to MNIST's form: 28×28 pixels, light on dark, size-normalised and centred.

MNIST's digits were fitted into a box of 20×20 pixels with their aspect ratio preserved, which made them antialiased,
and centred in 28×28 pixels by their centre of mass (LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist). In the
official files, the bounding box is 20 pixels long in 9,997 of 10,000 test images, the brightest pixel is 254 or 255,
and both coordinates of the centre of mass are between 13.5 and 14.5: the box was moved by whole pixels, to a centre of
mass in pixel (14, 14).
"""

import contextlib
import logging
import warnings
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageOps
from scipy import ndimage

from ae_jax.errors import InputError, reading
from ae_jax.types import Picture

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")  # in upper case too

_SIZE, _BOX, _CENTRE = 28, 20, 14  # pixels: the image's side, the digit's longer side, the centre of mass
_MAX_SIDE = 256  # pixels; larger pictures are reduced first, which bounds the cost and averages noise
_MIN_CONTRAST = 32  # of 255; above the noise of an empty sheet
_FAINTEST = 1 / 6  # pixels below this part of the contrast are set to 0, which removes JPEG ringing
_GAP = 0.1  # dilation radius per longer side of the digit; 99.9 % of MNIST's test digits stay whole
_SPECK = 0.05  # components below this part of the largest one's pixels are dust
_LINE_LENGTH, _LINE_WIDTH = 0.9, 11  # of a line, per side of the picture and in pixels of up to 256
_LINE_DEPTH, _LINED = 15, 0.02  # darker than the paper, of 255; the least part of the picture that lines cover
_SHEET, _FILLED = 0.1, 0.85  # least part of the picture, and of its bounding box, that a sheet covers with its holes
_PAPER, _EDGE = 0.75, 0.05  # least part of a sheet that is no hole; the part of a side that is cut off as its edge

_NO_DIGIT = "no digit stands out from the background; use a picture of one, dark on light or light on dark."
_log = logging.getLogger(__name__)

Levels: TypeAlias = Float[np.ndarray, "_ _"]  # of grey, from 0 to 255, or of ink, from 0 to 1


class Digit(NamedTuple):
    """A digit in MNIST's form, and how many shapes it was chosen from."""

    image: UInt8[np.ndarray, "28 28 1"]  # light on dark
    num_shapes: int  # separate shapes in the picture, of which the largest is the digit


def read_picture(path: Path) -> UInt8[np.ndarray, "1 28 28 1"]:
    """The digit in a PNG or JPEG file, see `digit_from_picture`; logs a warning if the picture has several shapes.

    `InputError` if the file cannot be read, has more than Pillow's limit of 89 million pixels, or shows no digit.
    """
    with reading(path, "Give a PNG or JPEG picture of at most 89 million pixels."), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            picture = _greyscale(image)
    digit = digit_from_picture(picture)
    if digit.num_shapes > 1:
        _log.warning("%s shows %d separate shapes: the largest one is used.", path, digit.num_shapes)
    return digit.image[None]


def digit_from_picture(picture: UInt8[np.ndarray, "h w"]) -> Digit:
    """Bring a greyscale picture u8[h, w] of a digit, dark on light or light on dark, to MNIST's form u8[28, 28, 1].

    The steps are those of the functions below. If the border's median is in the lighter class, the picture is inverted.
    One of 28×28 pixels that is light on dark has MNIST's form and is returned as it is. Of a light sheet on a dark desk
    the inside is taken, as another picture.

    Raises:
      InputError: nothing stands out from the background.
      ValueError: the picture is not u8[h, w].
    """
    if picture.ndim != 2 or picture.dtype != np.uint8:
        raise ValueError(f"picture must be uint8[h, w], got {picture.dtype}{list(picture.shape)}")
    if not picture.size:
        raise InputError(_NO_DIGIT)
    factor = -(-max(picture.shape) // _MAX_SIDE)
    grey = np.asarray(Image.fromarray(picture.astype(np.float32)).reduce(factor), np.float64)
    if np.median(grey) > _otsu_threshold(grey):  # on a dark ground, margins would be filled as lines
        grey = _without_lines(grey)
    grey = _even_lighting(grey)
    threshold = _otsu_threshold(grey)
    is_dark_on_light = np.median(_border(grey)) > threshold
    ink = _stretch(255 - grey, 255 - threshold) if is_dark_on_light else _stretch(grey, threshold)
    if not is_dark_on_light and picture.shape == (_SIZE, _SIZE):
        return Digit(picture[..., None].copy(), 1)
    if not is_dark_on_light and (sheet := _sheet(ink)):
        return digit_from_picture(np.rint(grey[sheet]).astype(np.uint8))
    shape, num_shapes = _largest_shape(ink)
    if any(side == whole for side, whole in zip(shape.shape, ink.shape, strict=True)):
        _log.warning("The largest shape touches two opposite sides of the picture: is it a digit, or a line?")
    return Digit(_centre(_fit_box(shape))[..., None], num_shapes)


def _greyscale(image: Image.Image) -> Picture:
    """The first frame, upright, of 8 bits; on white if what is visible is dark on average, otherwise on black."""
    with contextlib.suppress(Exception):  # a good picture may have corrupt EXIF data
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16 bits: 65,535 / 255 = 257
        return np.rint(np.asarray(image) / 257).astype(np.uint8)
    if "transparency" not in image.info and image.mode not in ("LA", "RGBA"):
        return np.asarray(image.convert("L"))
    grey, alpha = image.convert("RGBA").convert("L"), image.convert("RGBA").getchannel("A")
    is_dark = np.sum((np.asarray(grey) - 127.5) * np.asarray(alpha)) < 0
    return np.asarray(Image.composite(grey, Image.new("L", image.size, 255 if is_dark else 0), alpha))


def _even_lighting(grey: Levels) -> Levels:
    """Subtract the plane through the medians of the four sides, which leaves the value in the centre."""
    top, bottom, left, right = map(np.median, (grey[0], grey[-1], grey[:, 0], grey[:, -1]))
    down, across = bottom - top, right - left
    # A plane is halfway between opposite sides in the centre, for both pairs; not so where a side is covered by ink.
    if 2 * abs(top + bottom - left - right) > abs(down) + abs(across):
        return grey
    rows, columns = (np.linspace(-rise / 2, rise / 2, n) for rise, n in zip((down, across), grey.shape, strict=True))
    return np.clip(grey - rows[:, None] - columns, 0, 255)


def _border(grey: Levels) -> Float[np.ndarray, "_"]:
    return np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])


def _otsu_threshold(grey: Levels) -> float:
    """The threshold that maximises the variance between classes, of equally good ones the middle.

    Otsu 1979, "A threshold selection method from gray-level histograms".
    """
    histogram = np.bincount(np.rint(grey).astype(int).ravel(), minlength=256) / grey.size
    weights, sums = np.cumsum(histogram), np.cumsum(histogram * np.arange(256))
    variances = (sums - sums[-1] * weights) ** 2 / np.maximum(weights * (1 - weights), 1e-9)
    best = np.flatnonzero(np.isclose(variances, variances.max()))
    return float(best[0] + best[-1] + 1) / 2


def _stretch(grey: Levels, threshold: float) -> Levels:
    """Ink from 0, the background's median, to 1, the ink's upper quartile; `InputError` for too little contrast."""
    is_ink = grey > threshold
    if is_ink.all() or not is_ink.any():
        raise InputError(_NO_DIGIT)
    background, ink = np.median(grey[~is_ink]), np.quantile(grey[is_ink], 0.75)
    if ink - background < _MIN_CONTRAST:
        raise InputError(_NO_DIGIT)
    stretched = np.minimum((grey - background) / (ink - background), 1)
    return np.where(stretched < _FAINTEST, 0, stretched)


def _sheet(ink: Levels) -> tuple[slice, slice] | None:
    """The inside, without edges, of a light sheet on a dark desk, a large rectangle with holes; None if it is none."""
    labels, areas = _components(ink > 0, ink)
    box, is_sheet = ndimage.find_objects(labels)[areas.argmax()], labels == areas.argmax() + 1
    filled, sides = np.sum(ndimage.binary_fill_holes(is_sheet)), [part.stop - part.start for part in box]
    if not _PAPER * filled < areas.max() < filled or filled < max(_SHEET * ink.size, _FILLED * sides[0] * sides[1]):
        return None
    edges = [_round(_EDGE * side) for side in sides]
    rows, columns = (slice(part.start + edge, part.stop - edge) for part, edge in zip(box, edges, strict=True))
    return rows, columns


def _without_lines(grey: Levels) -> Levels:
    """Fill dark lines along a row or a column, as those of ruled or squared paper, with the paper beside them."""
    height, width = (max(1, _round(_LINE_LENGTH * side)) for side in grey.shape)
    lines = np.minimum(ndimage.grey_closing(grey, (1, width)), ndimage.grey_closing(grey, (height, 1)))
    depth = ndimage.grey_closing(lines, _LINE_WIDTH) - lines
    filled = np.minimum(grey + depth, 255)
    has_lines = all(np.mean(part > _LINE_DEPTH) > _LINED for part in (depth, _border(depth)))
    is_lined = has_lines and np.ptp(filled) > _MIN_CONTRAST
    return filled if is_lined else grey


def _largest_shape(ink: Levels) -> tuple[Levels, int]:
    """The shape with most pixels, cropped to its bounding box, and the number of shapes.

    A shape is an 8-connected component after a dilation, which bridges gaps as that of a 5's detached bar.
    """
    labels, areas = _components(ink > 0, ink)
    side = max(ink[ndimage.find_objects(labels)[areas.argmax()]].shape)
    dilated = ndimage.maximum_filter(ink > 0, 2 * _round(_GAP * side) + 1, mode="constant")
    labels, areas = _components(dilated, ink)
    largest = int(areas.argmax())
    shape = np.where(labels == largest + 1, ink, 0)[ndimage.find_objects(labels)[largest]]
    return shape, int(np.sum(areas >= _SPECK * areas.max()))


def _components(mask: Bool[np.ndarray, "_ _"], ink: Levels) -> tuple[Int[np.ndarray, "_ _"], Int[np.ndarray, "n"]]:
    """Label the 8-connected components of `mask` from 1 on where there is ink; return the pixels of ink of each."""
    labels = ndimage.label(mask, np.ones((3, 3)))[0] * (ink > 0)
    return labels, np.bincount(labels.ravel())[1:]


def _fit_box(shape: Levels) -> Picture:
    """Resize to a longer side of 20 pixels, and stretch to a maximum of 255."""
    height, width = (max(1, _round(_BOX * side / max(shape.shape))) for side in shape.shape)
    resized = _area_means(_area_means(shape, height).T, width).T
    return np.rint(255 * resized / resized.max()).astype(np.uint8)


def _area_means(grey: Levels, n: int) -> Levels:
    """The mean of each of `n` equal parts of the height, exact where a part covers pixels partially."""
    return np.repeat(grey, n, axis=0).reshape(n, *grey.shape).mean(1)


def _centre(digit: Picture) -> Picture:
    """Move by whole pixels, so that the centre of mass is in pixel (14, 14), as far as the box stays inside."""
    image = np.zeros((_SIZE, _SIZE), np.uint8)
    offsets = _CENTRE - np.array(ndimage.center_of_mass(digit))
    top, left = (min(max(_round(offset), 0), _SIZE - side) for offset, side in zip(offsets, digit.shape, strict=True))
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return image


def _round(number: float) -> int:
    """The nearest integer; halves are rounded up, as in the page's JavaScript."""
    return int(np.floor(number + 0.5))
