import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageFilter
from scipy import ndimage

import ae_jax
from ae_jax.data.digit import digit_from_picture, read_picture


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


def digit(picture: np.ndarray) -> np.ndarray:
    return digit_from_picture(picture).image


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


def test_photographed_and_dark_mnist_digits_are_brought_back(mnist_files: Path, data_dir: Path) -> None:
    rng, trained = np.random.default_rng(0), ae_jax.load_pretrained("conv")
    originals = ae_jax.load_dataset("mnist", "test", data_dir=data_dir, manual_dir=mnist_files).images[:300]
    found = np.stack([digit(photographed(image, rng)) for image in originals])
    # An original moved by one pixel differs by 0.05 to 0.1; what is left is blur.
    assert np.mean(np.square((found / 255.0) - (originals / 255.0))) < 0.01
    errors = [np.square(trained.reconstruct(x) - x / np.float32(255)).mean() for x in (originals, found)]
    assert errors[1] <= 1.5 * errors[0]
    dark = [digit_from_picture(255 - image[..., 0]) for image in originals]
    assert all(each.num_shapes == 1 for each in dark)
    images = np.stack([each.image for each in dark])
    assert np.mean(np.square((images / 255.0) - (originals / 255.0))) < 0.003


@pytest.mark.parametrize("size", [60, 280, 900])
def test_a_drawing_fills_a_box_of_20_pixels_around_its_centre_of_mass(size: int) -> None:
    image, num_shapes = digit_from_picture(drawn("7", size=size, thickness=max(2, size // 14)) // 2 + 3)
    assert (image.shape, image.dtype, num_shapes) == ((28, 28, 1), np.uint8, 1)
    rows, columns = (np.flatnonzero(image.any((axis, 2))) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) == 19
    assert image.max() == 255
    assert np.all(np.abs(np.array(ndimage.center_of_mass(image))[:2] - 14) <= 0.5)


def test_lines_and_dots_are_scaled_in_both_directions() -> None:
    wide, dot = np.zeros((9, 800), np.uint8), np.zeros((3, 3), np.uint8)
    wide[4, 10:-10] = dot[1, 1] = 255
    assert [int(digit(wide).any(axis).sum()) for axis in (1, 0)] == [1, 20]
    assert digit(dot).sum() == 255 * 20 * 20


def test_light_28x28_pictures_are_kept_and_dark_ones_are_inverted() -> None:
    light = np.array(Image.fromarray(drawn("7")).resize((28, 28)))
    light[light < 20] = 0
    light[0, 0] = 200  # dust, which a picture of another size would lose
    np.testing.assert_array_equal(digit(light)[..., 0], light)
    dark = digit(255 - light)[..., 0]
    assert dark[0, 0] == 0
    assert dark.mean() < 128


@pytest.mark.parametrize("is_dark", [False, True])
def test_uneven_lighting_is_evened_out(is_dark: bool) -> None:
    picture = np.pad(drawn("7") // 2, ((300, 50), (20, 200)))  # the digit is not in the middle
    rows, columns = (np.linspace(0, 50, n) for n in picture.shape)
    light = np.rint(picture + rows[:, None] + columns).astype(np.uint8)  # from one corner to another almost as high
    found = digit(255 - light if is_dark else light)
    assert np.abs(found.astype(int) - digit(picture)).max() <= 16


def test_a_stroke_along_one_side_is_not_taken_for_lighting() -> None:
    top, left = (np.flatnonzero(drawn("7").any(axis))[0] for axis in (1, 0))
    cropped = drawn("7")[top:, left : 280 - left]
    assert np.median(cropped[0]) == 255
    assert np.mean((digit(255 - cropped) > 127) == (digit(255 - drawn("7")) > 127)) > 0.98


@pytest.mark.parametrize("quality", [30, 75])
def test_jpeg_noise_in_the_background_becomes_exactly_0(quality: int) -> None:
    clean = digit(255 - drawn("7"))
    noisy = through_jpeg(np.clip(255 - drawn("7").astype(int) // 2 - 40, 0, 255).astype(np.uint8), quality)
    assert len(np.unique(noisy)) > 10
    found = digit(noisy)
    assert np.mean((found > 0) == (clean > 0)) > 0.99
    assert np.all(found[ndimage.binary_dilation(clean > 0, np.ones((3, 3, 1)), 2) == 0] == 0)


def test_of_several_shapes_the_largest_is_used_with_its_parts_and_dust_does_not_count() -> None:
    alone = digit(drawn("7", size=120, thickness=9))
    for digits, count in {("7", "1"): 2, ("1", "7"): 2, ("7", "."): 1}.items():
        image, num_shapes = digit_from_picture(drawn(*digits, size=120, thickness=9))
        np.testing.assert_array_equal(image, alone)
        assert num_shapes == count
    image, num_shapes = digit_from_picture(drawn("5"))
    assert (num_shapes, ndimage.label(image[..., 0])[1]) == (1, 2)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((0, 5), np.uint8),
        np.zeros((1, 1), np.uint8),
        np.full((300, 200), 255, np.uint8),
        np.random.default_rng(0).integers(200, 220, (400, 400), np.uint8),  # paper
    ],
)
def test_a_picture_without_a_digit_is_a_one_line_error(picture: np.ndarray) -> None:
    with pytest.raises(ae_jax.InputError, match="no digit stands out from the background; use a picture"):
        digit_from_picture(picture)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("picture", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)])
def test_other_arrays_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"picture must be uint8\[h, w\], got (uint8\[4, 4, 3\]|float32\[4, 4\])"):
        digit_from_picture(picture)


@pytest.fixture
def seven(tmp_path: Path) -> Callable[[str], None]:
    """Reads a picture in `tmp_path` and checks that it shows a 7, but for JPEG's noise at the edge."""

    def check(name: str) -> None:
        image = read_picture(tmp_path / name)
        assert (image.shape, image.dtype) == ((1, 28, 28, 1), np.uint8)
        assert np.abs(image[0].astype(int) - digit(drawn("7"))).mean() < 2, name

    return check


@pytest.mark.parametrize("name", ["digit.png", "DIGIT.PNG", "digit.jpg", "digit.JPEG"])
def test_pictures_of_each_format_mode_and_orientation_are_read(
    name: str, tmp_path: Path, seven: Callable[[str], None]
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned by 90° clockwise
    turned = Image.fromarray(255 - drawn("7")).transpose(Image.Transpose.ROTATE_90)
    for mode in ("L", "RGB", *(("1", "P", "LA") if name.lower() == "digit.png" else ("CMYK",))):
        turned.convert(mode).save(tmp_path / name, quality=90, exif=exif)
        seven(name)


def test_16_bit_pictures_are_scaled_to_8_bits(tmp_path: Path) -> None:
    light = np.array(Image.fromarray(drawn("7")).resize((28, 28), Image.Resampling.BOX))
    offsets = np.where(np.arange(28) % 2, 128, -128)  # the furthest that are still rounded to the same level
    Image.fromarray((light * 257.0 + offsets).clip(0, 65535).astype(np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "deep.png")[0, :, :, 0], light)


@pytest.mark.parametrize("ink", [0, 255])
def test_a_digit_of_any_colour_on_a_transparent_background_is_seen(
    ink: int, tmp_path: Path, seven: Callable[[str], None]
) -> None:
    pixels = np.full((280, 280), ink, np.uint8)  # the background too: only transparency tells it from the digit
    for mode in ("LA", "RGBA"):
        Image.fromarray(np.stack([pixels, drawn("7")], axis=-1), "LA").convert(mode).save(tmp_path / f"{mode}.png")
        seven(f"{mode}.png")
    key = abs(ink - 9)  # too near to be told from the ink by its level
    picture = Image.fromarray(np.where(drawn("7") > 127, ink, key).astype(np.uint8))
    for mode in ("P", "L"):
        picture.convert(mode).save(tmp_path / f"{mode}.png", transparency=key)
        seven(f"{mode}.png")
    Image.new("RGBA", (50, 50)).save(tmp_path / "empty.png")
    with pytest.raises(ae_jax.InputError, match="no digit stands out"):
        read_picture(tmp_path / "empty.png")


def test_several_shapes_in_a_picture_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(drawn("7", "1")).save(tmp_path / "two.png")
    read_picture(tmp_path / "two.png")
    assert caplog.messages == [f"{tmp_path}/two.png shows 2 separate shapes: the largest one is used."]


def test_files_that_are_no_pictures_or_too_large_are_one_line_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(drawn("7")).save(tmp_path / "large.jpg")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "large.jpg").read_bytes()[:2000])
    (tmp_path / "text.jpg").write_text("not an image")
    Image.new("L", (28, 28)).save(tmp_path / "gif.png", format="GIF")
    for name in ("truncated.jpg", "text.jpg", "gif.png", "large.jpg", "none.jpg"):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000 if name == "large.jpg" else 100_000)
        with pytest.raises(ae_jax.InputError, match=rf"{name} cannot be read: .*\. Give a PNG or JPEG") as error:
            read_picture(tmp_path / name)
        assert "\n" not in str(error.value)


def on_paper(picture: np.ndarray, spacing: int | None, columns: bool = False) -> np.ndarray:
    """Dark on light, on plain, ruled or squared paper."""
    paper = np.full(picture.shape, 220.0)
    if spacing:
        paper[::spacing] = paper[1::spacing] = 130
        if columns:
            paper[:, ::spacing] = paper[:, 1::spacing] = 130
    return np.where(picture > 0, np.minimum(paper, 40), paper).astype(np.uint8)


def test_an_image_in_mnists_form_is_returned_as_it_is(mnist_files: Path) -> None:
    images = np.frombuffer(
        gzip.decompress((mnist_files / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
    )
    for image in images.reshape(-1, 28, 28)[:300]:
        np.testing.assert_array_equal(digit(image)[..., 0], image)


@pytest.mark.parametrize("columns", [False, True])
def test_lines_of_the_paper_are_no_part_of_the_digit(columns: bool) -> None:
    picture = drawn("7", size=300)
    plain, lined = (digit(on_paper(picture, spacing, columns)) for spacing in (None, 30))
    assert np.abs(plain.astype(float) - lined).mean() < 5


def test_a_sheet_on_a_dark_desk_is_not_the_digit_and_what_reaches_across_is_doubted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sheet = on_paper(drawn("7", size=300), None)
    desk = np.pad(sheet, ((90, 200), (150, 120)), constant_values=30)
    assert np.abs(digit(desk).astype(float) - digit(sheet)).mean() < 5
    slope = np.full((200, 200), 220, np.uint8)
    for i in range(200):
        slope[max(0, i - 3) : i + 3, i] = 40
    assert not caplog.text
    digit(slope)
    assert "touches two opposite sides of the picture: is it a digit, or a line?" in caplog.text
