import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

import ae_jax
from ae_jax.metrics.probes import nearest_neighbours
from tests.conftest import ROOT

_SCRIPT = """
import { readFileSync } from "node:fs";
import { digitFromPicture } from %r;
const file = readFileSync(0);
for (let start = 0; start < file.length; ) {
  const [height, width] = [file.readUInt32LE(start), file.readUInt32LE(start + 4)];
  const stop = start + 8 + height * width;
  const digit = digitFromPicture(new Uint8Array(file.subarray(start + 8, stop)), height, width);
  console.log(digit ? [digit.numShapes, ...digit.image].join(" ") : "");
  start = stop;
}
"""


def drawn(*digits: str, size: int = 280, thickness: int = 22) -> np.ndarray:
    """Digits beside each other, light on dark: 7 is two strokes, 1 one, 5 has a detached bar, `.` is dust."""
    strokes = {
        "7": [[(0.2, 0.2), (0.8, 0.2), (0.4, 0.8)]],
        "1": [[(0.5, 0.2), (0.5, 0.8)]],
        "5": [[(0.3, 0.31), (0.3, 0.5), (0.6, 0.55), (0.6, 0.75), (0.3, 0.8)], [(0.35, 0.2), (0.65, 0.2)]],
        ".": [[(0.5, 0.5), (0.52, 0.5)]],
    }
    image = Image.new("L", (size * len(digits), size))
    for i, digit in enumerate(digits):
        for stroke in strokes[digit]:
            points = [(int(size * (x + i)), int(size * y)) for x, y in stroke]
            ImageDraw.Draw(image).line(points, 255, 5 if digit == "." else thickness, "curve")
    return np.asarray(image)


def photographed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image enlarged 8 to 20 times, somewhere on a larger ground, blurred, half of them inverted, through JPEG."""
    side = int(28 * rng.uniform(8, 20))
    ground = Image.new("L", tuple(int(side * rng.uniform(1, 2)) for _ in range(2)))
    corner = tuple(int(rng.integers(0, length - side + 1)) for length in ground.size)
    ground.paste(Image.fromarray(image[..., 0]).resize((side, side), Image.Resampling.BICUBIC), corner)
    pixels = np.asarray(ground.filter(ImageFilter.GaussianBlur(side / 28 * rng.uniform(0, 0.3))))
    return through_jpeg(255 - pixels if rng.random() < 0.5 else pixels, int(rng.integers(50, 96)))


def through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.fixture(scope="module")
def mnist(mnist_files: Path, data_dir: Path) -> Callable[[str], ae_jax.Dataset]:
    return lambda split: ae_jax.load_dataset("mnist", split, data_dir=data_dir, manual_dir=mnist_files)


def test_enlarged_inverted_blurred_jpegs_of_mnist_are_brought_back(mnist: Callable[[str], ae_jax.Dataset]) -> None:
    rng = np.random.default_rng(0)
    train, test = mnist("train"), mnist("test")
    originals, trained = test.images[:300], ae_jax.load_pretrained("conv")
    found = np.stack([ae_jax.digit_from_picture(photographed(image, rng)).image for image in originals])
    # An original moved by one pixel differs by 0.05 to 0.1; what is left is blur.
    assert np.mean(np.square((found / 255.0) - (originals / 255.0))) < 0.01
    errors = [np.square(trained.reconstruct(x) - x / np.float32(255)).mean() for x in (originals, found)]
    assert errors[1] <= 1.5 * errors[0]
    train_codes, train_labels = trained.encode(train.images[:10_000]), train.labels[:10_000]
    names = [nearest_neighbours(train_codes, train_labels, trained.encode(x)) for x in (originals, found)]
    assert np.mean(names[0] == names[1]) >= 0.95


@pytest.mark.usefixtures("unchecked")  # for 2,000 pictures it takes three times as long with the annotations checked
def test_dark_mnist_digits_stay_whole_and_are_moved_by_less_than_a_pixel(
    mnist: Callable[[str], ae_jax.Dataset],
) -> None:
    originals = mnist("test").images[:2000]
    digits = [ae_jax.digit_from_picture(255 - image[..., 0]) for image in originals]
    assert np.mean([digit.num_shapes == 1 for digit in digits]) >= 0.998
    images = np.stack([digit.image for digit in digits])
    assert np.mean(np.square((images / 255.0) - (originals / 255.0))) < 0.003


@pytest.mark.parametrize("size", [60, 280, 900])
def test_a_drawing_fills_a_box_of_20_pixels_around_its_centre_of_mass(size: int) -> None:
    image, num_shapes = ae_jax.digit_from_picture(drawn("7", size=size, thickness=max(2, size // 14)) // 2 + 3)
    assert (image.shape, image.dtype, num_shapes) == ((28, 28, 1), np.uint8, 1)
    rows, columns = (np.flatnonzero(image.any((axis, 2))) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) == 19
    assert image.max() == 255
    assert np.all(np.abs(np.array(ndimage.center_of_mass(image))[:2] - 14) <= 0.5)


def test_a_stroke_that_fills_the_picture_is_scaled_in_both_directions() -> None:
    wide = np.zeros((9, 800), np.uint8)
    wide[4, 10:-10] = 255
    image = ae_jax.digit_from_picture(wide).image[..., 0]
    assert image.any(1).sum() == 1
    assert image.any(0).sum() == 20
    dot = np.zeros((3, 3), np.uint8)
    dot[1, 1] = 255
    assert ae_jax.digit_from_picture(dot).image.sum() == 255 * 20 * 20  # enlarged by exact areas


def test_an_inverted_picture_gives_the_same_digit() -> None:
    rng = np.random.default_rng(0)
    for digits in (("7",), ("5", "1"), ("1", ".", "7")):
        picture = through_jpeg(drawn(*digits) // 2 + rng.integers(0, 20, (280, 1), np.uint8), 60)
        dark, light = ae_jax.digit_from_picture(255 - picture), ae_jax.digit_from_picture(picture)
        np.testing.assert_array_equal(dark.image, light.image)
        assert dark.num_shapes == light.num_shapes


def test_light_28x28_pictures_are_kept_and_dark_ones_are_inverted() -> None:
    light = np.array(Image.fromarray(drawn("7")).resize((28, 28)))
    light[light < 20] = 0
    light[0, 0] = 200  # dust, which a picture of another size would lose
    np.testing.assert_array_equal(ae_jax.digit_from_picture(light).image[..., 0], light)
    dark = ae_jax.digit_from_picture(255 - light).image[..., 0]
    assert dark[0, 0] == 0
    assert dark.mean() < 128


@pytest.mark.parametrize("is_dark", [False, True])
def test_uneven_lighting_is_evened_out(is_dark: bool) -> None:
    picture = np.pad(drawn("7") // 2, ((300, 50), (20, 200)))  # the digit is not in the middle
    rows, columns = (np.linspace(0, 50, n) for n in picture.shape)
    light = np.rint(picture + rows[:, None] + columns).astype(np.uint8)  # from one corner to another almost as high
    found = ae_jax.digit_from_picture(255 - light if is_dark else light).image
    assert np.abs(found.astype(int) - ae_jax.digit_from_picture(picture).image).max() <= 16


def test_a_stroke_along_one_side_is_not_taken_for_lighting() -> None:
    top, left = (np.flatnonzero(drawn("7").any(axis))[0] for axis in (1, 0))
    cropped = drawn("7")[top:, left : 280 - left]
    assert np.median(cropped[0]) == 255
    alone = ae_jax.digit_from_picture(255 - drawn("7")).image
    found = ae_jax.digit_from_picture(255 - cropped).image
    assert np.mean((found > 127) == (alone > 127)) > 0.98


@pytest.mark.parametrize("quality", [30, 75])
def test_jpeg_noise_in_the_background_becomes_exactly_0(quality: int) -> None:
    clean = ae_jax.digit_from_picture(255 - drawn("7")).image
    noisy = through_jpeg(np.clip(255 - drawn("7").astype(int) // 2 - 40, 0, 255).astype(np.uint8), quality)
    assert len(np.unique(noisy)) > 10
    found = ae_jax.digit_from_picture(noisy).image
    assert np.mean((found > 0) == (clean > 0)) > 0.99
    assert np.all(found[ndimage.binary_dilation(clean > 0, np.ones((3, 3, 1)), 2) == 0] == 0)


def test_a_detached_bar_stays_with_its_digit() -> None:
    picture = drawn("5")
    assert ndimage.label(picture)[1] == 2
    image, num_shapes = ae_jax.digit_from_picture(picture)
    assert num_shapes == 1
    assert ndimage.label(image[..., 0])[1] == 2


def test_dust_is_dropped_without_being_counted() -> None:
    dusty = ae_jax.digit_from_picture(drawn("7", ".", size=120, thickness=9))
    np.testing.assert_array_equal(dusty.image, ae_jax.digit_from_picture(drawn("7", size=120, thickness=9)).image)
    assert dusty.num_shapes == 1


def test_of_several_digits_the_largest_is_used_and_all_are_counted() -> None:
    alone = ae_jax.digit_from_picture(drawn("7", size=120, thickness=9))
    for digits in (("7", "1"), ("1", "7")):
        several = ae_jax.digit_from_picture(drawn(*digits, size=120, thickness=9))
        np.testing.assert_array_equal(several.image, alone.image)
        assert (several.num_shapes, alone.num_shapes) == (2, 1)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((0, 5), np.uint8),
        np.zeros((1, 1), np.uint8),
        np.full((300, 200), 255, np.uint8),
        np.zeros((28, 28), np.uint8),
        np.random.default_rng(0).integers(200, 220, (400, 400), np.uint8),  # paper
    ],
)
def test_a_picture_without_a_digit_is_a_one_line_error(picture: np.ndarray) -> None:
    with pytest.raises(ae_jax.InputError, match="no digit stands out from the background; use a picture"):
        ae_jax.digit_from_picture(picture)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("picture", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)])
def test_other_arrays_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"picture must be uint8\[h, w\], got (uint8\[4, 4, 3\]|float32\[4, 4\])"):
        ae_jax.digit_from_picture(picture)


def pictures() -> list[np.ndarray]:
    """Drawings, JPEGs, wide, tall, tiny, of several shapes, of MNIST's size, noise, and nothing."""
    rng = np.random.default_rng(0)
    drawings = [drawn(*digits) for digits in ("7", "51", "1.7", "711")] + [drawn("5", size=n) for n in (28, 40, 700)]
    tiny = [rng.integers(0, 256, shape, np.uint8) for shape in [(1, 1), (1, 9), (9, 1), (3, 3), (2, 5)] * 20]
    noise = [rng.integers(0, 256, shape, np.uint8) for shape in [(28, 28), (28, 29), (301, 90), (3, 999), (700, 5)] * 2]
    blobs = [blob(rng) for _ in range(100)]
    squares = np.kron(np.eye(2, dtype=np.uint8) * 255, np.ones((3, 3), np.uint8))  # two equal shapes that touch
    equal = np.pad(np.kron(np.eye(5, dtype=np.uint8)[::4] * 99, np.ones((6, 6), np.uint8)), 9)
    light = [*drawings, *(through_jpeg(each, 50) for each in drawings), *tiny, *noise, *blobs, squares, equal]
    return [*light, *(255 - each for each in light), np.zeros((0, 7), np.uint8), np.full((300, 40), 9, np.uint8)]


def blob(rng: np.random.Generator) -> np.ndarray:
    """Smooth random shapes with any contrast."""
    noise = ndimage.gaussian_filter(rng.normal(size=rng.integers(1, 400, 2)), rng.uniform(0.5, 8))
    levels = np.clip((noise - np.quantile(noise, 0.8)) * rng.uniform(1, 20), 0, 1)
    return (levels * rng.uniform(20, 255)).astype(np.uint8)


def test_the_javascript_function_gives_exactly_the_same_digits() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    content = b"".join(struct.pack("<II", *each.shape) + each.tobytes() for each in pictures())
    script = _SCRIPT % (ROOT / "ae_jax/explorer/digit.js").as_uri()
    command = [node, "--input-type=module", "--eval", script]
    lines = subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode().splitlines()
    found = [[int(number) for number in line.split()] for line in lines]
    expected = [python_numbers(each) for each in pictures()]
    assert found == expected
    assert {len(each) for each in expected} == {0, 785}
    assert {each[0] for each in expected if each} >= {1, 2, 3}


def python_numbers(picture: np.ndarray) -> list[int]:
    try:
        digit = ae_jax.digit_from_picture(picture)
    except ae_jax.InputError:
        return []
    return [digit.num_shapes, *digit.image.ravel().tolist()]
