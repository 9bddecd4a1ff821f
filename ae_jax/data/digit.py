"""A picture of a digit, brought to MNIST's form: 28×28 pixels, light on dark, size-normalised and centred.

MNIST's digits were fitted into a box of 20×20 pixels with their aspect ratio preserved, which made them antialiased,
and centred in 28×28 pixels by their centre of mass (LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist). In the
official files, the bounding box is 20 pixels long in 9,997 of 10,000 test images, the brightest pixel is 254 or 255,
and both coordinates of the centre of mass are between 13.5 and 14.5: the box was moved by whole pixels, to a centre of
mass in pixel (14, 14).

`explorer/digit.js` is the same function, bit for bit: sums are of integers below 2^53, and the only floating-point
numbers, in Otsu's method, are computed in the same order.
"""

from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Bool, Int, UInt8
from scipy import ndimage

from ae_jax.errors import InputError
from ae_jax.types import Picture

_SIZE, _BOX, _CENTRE = 28, 20, 14  # pixels: the image's side, the digit's longer side, the centre of mass
_MAX_SIDE = 256  # pixels; larger pictures are reduced first, which bounds the cost and averages noise
_MIN_CONTRAST = 32  # of 255; what an empty sheet has by noise and JPEG is below
_FAINTEST = 6  # pixels below 1/6 of the contrast are background; JPEG's ringing is
_GAP = 10  # the dilation has 1/10 of the digit's longer side as its radius; 99.9 % of MNIST's test digits stay whole
_SPECK = 20  # components below 1/20 of the largest one's pixels are dust

Mask: TypeAlias = Bool[np.ndarray, "_ _"]
Whole: TypeAlias = Int[np.ndarray, "_ _"]
Histogram: TypeAlias = Int[np.ndarray, "256"]
_Number = TypeVar("_Number", int, np.ndarray)


class Digit(NamedTuple):
    """A digit in MNIST's form, and how many shapes it was chosen from."""

    image: UInt8[np.ndarray, "28 28 1"]  # light on dark
    num_shapes: int  # separate shapes in the picture, of which the largest is the digit


def digit_from_picture(picture: UInt8[np.ndarray, "h w"]) -> Digit:
    """Bring a greyscale picture of a digit, of any size, dark on light or light on dark, to MNIST's form.

    1. Reduce a picture of more than 256 pixels a side by averaging square blocks.
    2. Even out the lighting: subtract the plane through the medians of the four sides.
    3. Separate ink from background by Otsu's threshold (1979, "A threshold selection method from gray-level
       histograms"). If the border's median is in the lighter class, invert. A picture of 28×28 pixels that is light on
       dark has MNIST's form and is returned as it is.
    4. Stretch the contrast: the background's median becomes 0, the upper quartile of the ink 255, less than 1/6 of that
       also 0, so that noise is exactly 0.
    5. Choose the largest of the shapes: 8-connected components, after a dilation that bridges gaps up to 1/5 of a
       digit's size, as that of a 5's detached bar. Components below 1/20 of its pixels are dust and do not count.
    6. Crop to its bounding box, resize to a longer side of 20 pixels with the aspect ratio preserved, by exact area
       averaging, and stretch to a maximum of 255.
    7. Move by whole pixels, so that the centre of mass is in pixel (14, 14) of 28×28, as far as the box stays inside.

    Args:
      picture: u8[h, w].

    Returns:
      The image, u8[28, 28, 1], and the number of shapes.

    Raises:
      InputError: nothing stands out from the background.
      ValueError: the picture is not u8[h, w].
    """
    if picture.ndim != 2 or picture.dtype != np.uint8:
        raise ValueError(f"picture must be uint8[h, w], got {picture.dtype}{list(picture.shape)}")
    digit = _find_digit(picture)
    if digit is None:
        raise InputError(
            "no digit stands out from the background; use a picture of one, dark on light or light on dark."
        )
    return digit


def _find_digit(picture: Picture) -> Digit | None:
    if not picture.size:
        return None
    reduced = _even_lighting(_reduce(picture))
    is_inverted = _is_dark_on_light(reduced)
    if is_inverted:
        reduced = _even_lighting(_reduce(255 - picture))  # not 255 - reduced: halves are rounded up
    levels = _levels(reduced)
    if levels is None:
        return None
    if not is_inverted and picture.shape == (_SIZE, _SIZE):
        return Digit(picture[..., None].copy(), 1)
    shape, num_shapes = _largest_shape(_stretch(reduced, *levels))
    return Digit(_centre(_fit_box(shape))[..., None], num_shapes)


def _reduce(picture: Picture) -> Picture:
    """The means of square blocks, rounded half up; blocks at the right and at the bottom may be smaller."""
    side = -(-max(picture.shape) // _MAX_SIDE)
    if side == 1:
        return picture
    rows, columns = (np.arange(0, length, side) for length in picture.shape)
    sums = np.add.reduceat(np.add.reduceat(picture, rows, axis=0, dtype=np.int64), columns, axis=1)
    heights, widths = (np.minimum(side, n - starts) for n, starts in zip(picture.shape, (rows, columns), strict=True))
    return _divide(sums, np.outer(heights, widths)).astype(np.uint8)


def _even_lighting(picture: Picture) -> Picture:
    """Subtract the plane through the medians of the four sides, which leaves the value in the centre."""
    top, bottom, left, right = map(_twice_median, (picture[0], picture[-1], picture[:, 0], picture[:, -1]))
    down, across = bottom - top, right - left
    # A plane is halfway between opposite sides in the centre, for both pairs; not so where a side is covered by ink.
    if 2 * abs(top + bottom - left - right) > abs(down) + abs(across):
        return picture
    rows, columns = _ramp(down, picture.shape[0]), _ramp(across, picture.shape[1])
    return np.clip(picture.astype(np.int64) - rows[:, None] - columns, 0, 255).astype(np.uint8)


def _ramp(twice_rise: int, n: int) -> Int[np.ndarray, "{n}"]:
    """From minus half the rise to half the rise."""
    return _divide(twice_rise * (2 * np.arange(n) - (n - 1)), 4 * max(1, n - 1))


def _twice_median(values: UInt8[np.ndarray, "n"]) -> int:
    ordered = np.sort(values)
    return int(ordered[(len(ordered) - 1) // 2]) + int(ordered[len(ordered) // 2])


def _is_dark_on_light(picture: Picture) -> bool:
    border = np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])
    return _twice_median(border) > _twice_otsu_threshold(_histogram(picture))


def _levels(picture: Picture) -> tuple[int, int] | None:
    """The background's level and that of the ink in a picture that is light on dark; None if they are too close."""
    histogram = _histogram(picture)
    is_ink = 2 * np.arange(256) > _twice_otsu_threshold(histogram)
    background, ink = _quartile(histogram * ~is_ink, 2), _quartile(histogram * is_ink, 3)
    return (background, ink) if ink - background >= _MIN_CONTRAST else None


def _histogram(picture: Picture) -> Histogram:
    return np.bincount(picture.ravel(), minlength=256)


def _twice_otsu_threshold(histogram: Histogram) -> int:
    """Twice the threshold that maximises the variance between classes, of equally good ones the middle."""
    counts, sums = np.cumsum(histogram), np.cumsum(histogram * np.arange(256))
    difference = (sums * counts[-1] - sums[-1] * counts).astype(np.float64)
    weights = (counts * (counts[-1] - counts)).astype(np.float64)
    variances = np.divide(difference * difference, weights, out=np.zeros(256), where=weights > 0)
    best = np.flatnonzero(variances == variances.max())
    return int(best[0] + best[-1]) + 1


def _quartile(histogram: Histogram, quarters: int) -> int:
    """The least value that `quarters` of four values do not exceed; 0 if there are none."""
    counts = np.cumsum(histogram)
    return int(np.argmax(4 * counts >= quarters * counts[-1]))


def _stretch(picture: Picture, background: int, ink: int) -> Whole:
    above, contrast = picture.astype(np.int64) - background, ink - background
    stretched = np.minimum(_divide(255 * above, contrast), 255)
    return np.where(_FAINTEST * above < contrast, 0, stretched)


def _largest_shape(ink: Whole) -> tuple[Whole, int]:
    """The shape with most pixels, cropped to its bounding box, and the number of shapes."""
    is_ink = ink > 0
    labels = _components(is_ink)
    side = max(ink[_bounding_box(labels == _largest(labels))].shape)
    labels = _components(_dilate(is_ink, _divide(side, _GAP))) * is_ink
    areas, largest = np.bincount(labels.ravel())[1:], _largest(labels)
    box = _bounding_box(labels == largest)
    return np.where(labels == largest, ink, 0)[box], int(np.sum(_SPECK * areas >= areas.max()))


def _components(mask: Mask) -> Whole:
    """Labels of the 8-connected components, from 1 on in the order of their first pixels; 0 is background."""
    return ndimage.label(mask, np.ones((3, 3)))[0].astype(np.int64)


def _largest(labels: Whole) -> int:
    return int(np.argmax(np.bincount(labels.ravel())[1:])) + 1


def _dilate(mask: Mask, radius: int) -> Mask:
    return ndimage.maximum_filter(mask, 2 * radius + 1, mode="constant")


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _fit_box(shape: Whole) -> Whole:
    longer = max(shape.shape)
    height, width = (max(1, _divide(_BOX * side, longer)) for side in shape.shape)
    sums = _overlaps(height, shape.shape[0]) @ shape @ _overlaps(width, shape.shape[1]).T
    resized = _divide(sums, shape.size)
    return _divide(255 * resized, int(resized.max()))


def _overlaps(n: int, size: int) -> Whole:
    """By how much each of `n` equal parts of a side of `size` pixels covers each pixel, in units of 1/n pixel."""
    part, pixel = np.arange(n)[:, None], np.arange(size)
    overlaps = np.minimum((part + 1) * size, (pixel + 1) * n) - np.maximum(part * size, pixel * n)
    return np.maximum(overlaps, 0)


def _centre(digit: Whole) -> Picture:
    image = np.zeros((_SIZE, _SIZE), np.uint8)
    top, left = (_offset(digit.sum(axis=other)) for other in (1, 0))
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return image


def _offset(masses: Int[np.ndarray, "n"]) -> int:
    """The first row or column of the digit in the image, from its masses per row or column."""
    total, moment = int(masses.sum()), int((masses * np.arange(len(masses))).sum())
    offset = ((2 * _CENTRE + 1) * total - 2 * moment) // (2 * total)  # floor(14.5 - centre of mass)
    return min(max(offset, 0), _SIZE - len(masses))


def _divide(numerator: _Number, denominator: _Number | int) -> _Number:
    """The quotient of integers, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)
