import logging
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ae_jax
from ae_jax.data.array_files import read_images
from tests.data.test_digit import drawn

_PEAK = """
import sys
from pathlib import Path
import numpy as np
from ae_jax.data.pictures import read_picture
from ae_jax.errors import InputError
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
valid, *hostile = map(Path, sys.argv[1:])
read_picture(valid)
before = peak()
for path in hostile:
    try:
        print(read_picture(path).shape)
    except InputError as error:
        print(error)
print(peak() - before)
"""


def digit(picture: np.ndarray) -> np.ndarray:
    return ae_jax.digit_from_picture(picture).image[None]


def difference(images: np.ndarray, others: np.ndarray) -> float:
    return np.abs(images.astype(int) - others).mean()


@pytest.mark.parametrize("name", ["digit.png", "DIGIT.PNG", "digit.jpg", "digit.JPEG", "digit.Jpg"])
def test_pictures_of_each_format_and_mode_show_the_same_digit(name: str, tmp_path: Path) -> None:
    for mode in ("L", "RGB", *(("1", "P", "LA") if name.lower() == "digit.png" else ("CMYK",))):
        Image.fromarray(255 - drawn("7")).convert(mode).save(tmp_path / name, quality=90)
        images = read_images(tmp_path / name)
        assert (images.shape, images.dtype) == ((1, 28, 28, 1), np.uint8)
        assert difference(images, digit(drawn("7"))) < 2, mode  # JPEG's noise at the edge


def test_16_bit_pictures_are_scaled_to_8_bits(tmp_path: Path) -> None:
    light = np.array(Image.fromarray(drawn("7")).resize((28, 28), Image.Resampling.BOX))
    offsets = np.where(np.arange(28) % 2, 128, -128)  # the furthest that are still rounded to the same level
    Image.fromarray((light * 257.0 + offsets).clip(0, 65535).astype(np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_images(tmp_path / "deep.png")[0, :, :, 0], light)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L"])
@pytest.mark.parametrize("ink", [0, 255])
def test_a_digit_of_any_colour_on_a_transparent_background_is_seen(mode: str, ink: int, tmp_path: Path) -> None:
    path = tmp_path / "transparent.png"
    pixels = np.full((280, 280), ink, np.uint8)  # the background too: only transparency tells it from the digit
    if mode in {"LA", "RGBA"}:
        Image.fromarray(np.stack([pixels, drawn("7")], axis=-1), "LA").convert(mode).save(path)
    else:
        key = abs(ink - 9)  # too near to be told from the ink by its level
        picture = Image.fromarray(np.where(drawn("7") > 127, ink, key).astype(np.uint8))
        picture.convert(mode).save(path, transparency=key)
    assert difference(read_images(path), digit(drawn("7"))) < 2


def test_a_wholly_transparent_picture_shows_no_digit(tmp_path: Path) -> None:
    Image.new("RGBA", (50, 50)).save(tmp_path / "empty.png")
    with pytest.raises(ae_jax.InputError, match=r"empty\.png cannot be used: no digit stands out"):
        read_images(tmp_path / "empty.png")


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, 1), (3, 2), (8, 3)])
def test_exif_orientation_is_applied(name: str, orientation: int, turns: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.rot90(drawn("7"), turns)).save(tmp_path / name, exif=exif, quality=95)
    assert difference(read_images(tmp_path / name), digit(drawn("7"))) < 2


def test_several_shapes_are_reported_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, digits in {"one": ("7",), "two": ("7", "1")}.items():
        Image.fromarray(drawn(*digits, size=120, thickness=9)).save(tmp_path / f"{name}.png")
    with caplog.at_level(logging.INFO, "ae_jax"):
        one, two = (read_images(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert caplog.messages == [f"{tmp_path}/two.png shows 2 separate shapes: the largest one is used."]
    np.testing.assert_array_equal(one, two)


def test_the_first_frame_of_an_animation_is_used(tmp_path: Path) -> None:
    frames = [Image.fromarray(drawn(each)) for each in ("7", "1")]
    frames[0].save(tmp_path / "animated.png", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_images(tmp_path / "animated.png"), digit(drawn("7")))


def black_png(side: int) -> bytes:
    """A valid PNG of `side` × `side` black pixels of one bit, made without holding them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    packer = zlib.compressobj()
    packed = [packer.compress(bytes(1 + (side + 7) // 8)) for _ in range(side)]
    header = side.to_bytes(4) * 2 + bytes([1, 0, 0, 0, 0])
    data = chunk(b"IDAT", b"".join([*packed, packer.flush()]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_pictures_of_many_pixels_are_refused_or_read_in_little_memory(tmp_path: Path) -> None:
    Image.fromarray(drawn("7")).save(tmp_path / "valid.jpg")
    for side in (5_100, 10_000, 14_000):  # from 9,500 on, Pillow warns, from 13,500 on it refuses
        (tmp_path / f"{side}.png").write_bytes(black_png(side))
    Image.fromarray(drawn("7")).resize((7_900, 7_900)).save(tmp_path / "photo.jpg")
    Image.fromarray(drawn("7")).resize((8_100, 8_100)).save(tmp_path / "large.jpg")
    names = ("valid.jpg", "5100.png", "10000.png", "14000.png", "photo.jpg", "large.jpg")
    command = [sys.executable, "-W", "error", "-c", _PEAK, *(str(tmp_path / name) for name in names)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, growth = result.stdout.splitlines()
    assert lines[0].endswith("5100.png has 5,100×5,100 pixels, more than 25 million; resize it to about 1000×1000.")
    assert "10000.png has 10,000×10,000 pixels" in lines[1]
    assert "14000.png has far too many pixels; resize it" in lines[2]
    assert lines[3] == "(1, 28, 28, 1)"
    assert "8,100×8,100 pixels, more than 64 million" in lines[4]
    assert int(growth) < 30 * 1024  # KiB; the photo has 62 million pixels


def test_only_png_and_jpeg_are_decoded_whatever_the_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = tmp_path / "gs"  # stands in for Ghostscript, to which Pillow gives EPS
    interpreter.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "eps.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\n%%EOF\n")
    Image.new("L", (28, 28)).save(tmp_path / "bmp.png", format="BMP")
    for name in ("eps.png", "bmp.png"):
        with pytest.raises(ae_jax.InputError, match=r"cannot be read as an image: cannot identify"):
            read_images(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_files_that_are_no_pictures_are_one_line_errors(tmp_path: Path) -> None:
    Image.fromarray(drawn("7")).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    Image.new("L", (28, 28)).save(tmp_path / "gif.png", format="GIF")
    (tmp_path / "folder.png").mkdir()
    for name in ("truncated.jpg", "text.jpg", "gif.png", "folder.png"):
        with pytest.raises(ae_jax.InputError, match=rf"{name} cannot be read as an image: ") as error:
            read_images(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(ae_jax.InputError, match=r"none\.jpg does not exist; give the path of a \.npy"):
        read_images(tmp_path / "none.jpg")
