"""Synthetic digits for offline use: matplotlib's fonts with random affine and elastic distortions.

Each character of each font is rendered once. An image is a rendering under a random affine map and a smooth random
displacement (Simard, Steinkraus & Platt 2003, "Best practices for convolutional neural networks", section 2), resampled
bilinearly: 28×28 pixels, white on black, centred, with mean and standard deviation close to MNIST's.
"""

import functools
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float, Int32, UInt8

from ae_jax.types import RandomKey

Labelled: TypeAlias = tuple[UInt8[Array, "{n} 28 28 1"], Int32[Array, "{n}"]]  # images and labels

_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSans-Oblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta", "STIXGeneralItalic"),
    *("cmb10", "cmr10", "cmss10", "cmtt10"),
)
_SIZE = 28  # side length of renderings and images, pixels
_HEIGHT = 19  # height of a digit, pixels; about that of MNIST's
_SHIFT = 1.0  # maximum translation, pixels
_SHEAR, _ROTATION, _SCALE = 0.25, 0.2, 0.15  # maximum shear, rotation (radians) and relative change of size
_ELASTIC_STD, _ELASTIC_GRID = 1.2, 4  # standard deviation of the displacement, pixels; control points per side


def draw_glyphs(key: RandomKey, n: int, characters: str = "0123456789") -> Labelled:
    """Draw `n` images and their labels, the indices into `characters`: a pure function of `key`.

    Fonts and characters are drawn uniformly and independently.

    >>> images, labels = ae_jax.draw_glyphs(jax.random.key(0), 100)
    >>> images.shape, images.dtype.name, labels.shape
    ((100, 28, 28, 1), 'uint8', (100,))
    """
    with jax.default_matmul_precision("highest"):  # GPUs would round to 10 bits, and images would depend on the setting
        return _draw(key, n, jnp.asarray(_render(characters)))


@functools.partial(jax.jit, static_argnums=1)
def _draw(key: RandomKey, n: int, glyphs: Float[Array, "font char 28 28"]) -> Labelled:
    font_key, label_key, warp_key = jax.random.split(key, 3)
    fonts = jax.random.randint(font_key, (n,), 0, glyphs.shape[0], jnp.int32)
    labels = jax.random.randint(label_key, (n,), 0, glyphs.shape[1], jnp.int32)

    def draw_one(args: tuple[RandomKey, Array, Array]) -> UInt8[Array, "28 28 1"]:
        key, font, label = args
        return jnp.round(255 * _warp(key, glyphs[font, label])).astype(jnp.uint8)[..., None]

    return jax.lax.map(draw_one, (jax.random.split(warp_key, n), fonts, labels), batch_size=1000), labels


def _warp(key: RandomKey, glyph: Float[Array, "28 28"]) -> Float[Array, "28 28"]:
    """Distort `glyph` by a random affine map and an elastic displacement, with bilinear resampling."""
    affine_key, elastic_key = jax.random.split(key)
    ticks = jnp.arange(_SIZE, dtype=jnp.float32) - (_SIZE - 1) / 2
    grid = jnp.stack(jnp.meshgrid(ticks, ticks, indexing="ij"))
    matrix, shift = _random_affine(affine_key)
    coarse = _ELASTIC_STD * jax.random.normal(elastic_key, (2, _ELASTIC_GRID, _ELASTIC_GRID), jnp.float32)
    displacement = jax.image.resize(coarse, (2, _SIZE, _SIZE), "cubic")
    source = jnp.einsum("ij,jhw->ihw", matrix, grid) + shift[:, None, None] + displacement + (_SIZE - 1) / 2
    return jax.scipy.ndimage.map_coordinates(glyph, list(source), order=1)


def _random_affine(key: RandomKey) -> tuple[Float[Array, "2 2"], Float[Array, "2"]]:
    angle, shear, scale_y, scale_x, shift_y, shift_x = jax.random.uniform(key, (6,), jnp.float32, minval=-1, maxval=1)
    cos, sin = jnp.cos(_ROTATION * angle), jnp.sin(_ROTATION * angle)
    rotation = jnp.array([[cos, -sin], [sin, cos]])
    shearing = jnp.array([[1.0, 0.0], [_SHEAR * shear, 1.0]], jnp.float32)
    scale = jnp.diag(1 + _SCALE * jnp.array([scale_y, scale_x]))
    return rotation @ shearing @ scale, _SHIFT * jnp.array([shift_y, shift_x])


@functools.cache
def _render(characters: str) -> Float[np.ndarray, "font char 28 28"]:
    """Render every character in every font, centred and cropped to the image size."""
    import matplotlib  # here: importing ae_jax must not import it

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return np.stack([[_render_one(fonts / f"{font}.ttf", char) for char in characters] for font in _FONTS])


def _render_one(font_file: Path, character: str) -> Float[np.ndarray, "28 28"]:
    from matplotlib import ft2font

    font = ft2font.FT2Font(str(font_file))
    font.set_size(_HEIGHT / 0.72, 72)  # a digit is about 0.72 times as tall as its font size
    font.set_text(character)
    font.draw_glyphs_to_bitmap(antialiased=True)
    bitmap = np.asarray(font.get_image(), np.float32) / 255
    rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
    ink = np.pad(bitmap[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], _SIZE)
    top, left = (ink.shape[0] - _SIZE) // 2, (ink.shape[1] - _SIZE) // 2
    return ink[top : top + _SIZE, left : left + _SIZE]
