"""The explorer in Chromium, opened as a file, with all hosts unreachable."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.data.digit import digit_from_picture
from tests.support.models import UNUSUAL
from tests.support.page_driver import PageDriver

ENTER, LEFT, RIGHT, DELETE, HOME, SPACE = "\ue007", "\ue012", "\ue014", "\ue017", "\ue011", " "
SHIFT_RIGHT = "\ue008\ue014"
RIGHT_HALF = [(0, -60), (40, 0), (0, 60), (-40, 0), (0, -60)]


Models = Callable[[str], ae_jax.TrainedModel]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def models(untrained_run: Callable[..., Path]) -> Models:
    """The pretrained models, and untrained ones by latent dimension: `linear-784`, `linear-2-tanh`."""

    def model(name: str) -> ae_jax.TrainedModel:
        if name in ("linear", "conv", "conv-pool"):
            return ae_jax.load_pretrained(name)
        if name in UNUSUAL:
            return ae_jax.load_model(untrained_run(**UNUSUAL[name]))
        arch, latent_dim, *output = name.split("-")
        return ae_jax.load_model(untrained_run(arch, int(latent_dim), *output))

    return model


@pytest.mark.parametrize("name", ["linear", "conv", "conv-pool", "linear-2-tanh", "conv-5-tanh", *UNUSUAL])
def test_arithmetic_is_that_of_the_model(
    name: str, browser: PageDriver, models: Models, write_page: Write, glyphs: ae_jax.Dataset
) -> None:
    trained, images = models(name), glyphs.images[:100]
    browser.open(write_page(trained))
    flat = images.reshape(100, 784).astype(np.float32) / 255
    latents = trained.encode_latents(images)
    np.testing.assert_allclose(browser.call("encode", flat), latents, atol=1e-5, rtol=1e-6)
    recons = trained.reconstruct(images).reshape(100, 784)
    np.testing.assert_allclose(browser.call("reconstruct", flat), recons, atol=1e-5)
    # Codes of test images: with pooling, the nearest test image is the image itself.
    np.testing.assert_allclose(browser.call("decode", latents), recons, atol=1e-5)


def test_a_drawn_digit_becomes_a_code_and_a_reconstruction(
    browser: PageDriver, models: Models, write_page: Write
) -> None:
    browser.open(write_page(models("conv")))
    example = browser.pixels("#reconstruction")
    browser.drag("#pad", *RIGHT_HALF)
    pad = browser.pixels("#pad")[..., 0]
    assert np.ptp(pad) == 255
    image = browser.pixels("#input")[..., 0] / 255
    digit = digit_from_picture(pad).image[..., 0] / 255
    assert np.abs(image - digit).max() < 1.5 / 255  # sums in another order may be rounded the other way
    recon = browser.call("reconstruct", image.reshape(1, 784))[0].reshape(28, 28)
    np.testing.assert_allclose(browser.pixels("#reconstruction")[..., 0], 255 * recon, atol=1)
    assert not np.array_equal(browser.pixels("#reconstruction"), example)
    assert f"Mean squared error {np.square(recon - image).mean():.4f} per pixel" in browser.text("#error")
    browser.element("#pad-clear").click()
    browser.settle()
    assert not browser.pixels("#pad")[..., :3].any()
    assert not browser.pixels("#reconstruction").any()
    assert browser.text("#error") == "Draw a digit."


def test_a_drawing_is_compared_with_the_test_images(
    browser: PageDriver, models: Models, write_page: Write, glyphs: ae_jax.Dataset
) -> None:
    trained = models("linear")
    browser.open(write_page(trained))
    browser.drag("#pad", *RIGHT_HALF)
    image = browser.pixels("#input")[..., 0].reshape(1, 784) / 255
    errors = np.square(trained.reconstruct(glyphs.images) - glyphs.images / 255).mean((1, 2, 3))
    error = np.square(browser.call("reconstruct", image) - image).mean()
    percentage = round(100 * float((errors < error).mean()))
    assert f" {percentage} % of test images have a smaller one." in browser.text("#error")
    distances = np.square(trained.encode_latents(glyphs.images) - browser.call("encode", image)).sum(1)
    titles = browser.run("return [...document.querySelectorAll('#neighbours button')].map((each) => each.title)")
    assert titles == [f"test image {i + 1}, label {glyphs.labels[i]}" for i in distances.argsort()[:5]]


def test_pointing_shows_an_image_and_two_clicks_an_interpolation(
    browser: PageDriver, models: Models, write_page: Write, glyphs: ae_jax.Dataset
) -> None:
    trained = models("linear-2")
    latents = trained.encode_latents(glyphs.images)
    browser.open(write_page(trained))
    size = browser.element("#map").size
    low, high = latents.min(0), latents.max(0)
    unit = 2 * (latents - low) / (high - low) - 1
    points = np.rint(unit * [size["width"] / 2 - 34, 34 - size["height"] / 2]).astype(int)
    first, second = (int(row) for row in (latents[:, 0].argmin(), latents[:, 0].argmax()))
    browser.point("#map", tuple(points[first].tolist()))
    assert browser.text("#tooltip") == f"test image {first + 1}, label {glyphs.labels[first]}"
    np.testing.assert_array_equal(browser.pixels("#tooltip canvas")[..., :1], glyphs.images[first])
    assert not browser.element("#interpolation").is_displayed()
    for image in (first, second):
        browser.point("#map", tuple(points[image].tolist()), click=True)
        recon = trained.reconstruct(glyphs.images[image : image + 1])[0]
        np.testing.assert_allclose(browser.pixels("#decoded")[..., :1], 255 * recon, atol=1)
    names = [f"test image {image + 1}, label {glyphs.labels[image]}" for image in (first, second)]
    assert browser.text("#chosen") == f"Chosen: {' → '.join(names)}"
    strip = browser.pixels("#interpolation-strip")[..., 0].reshape(28, 9, 28).swapaxes(0, 1)
    t = np.linspace(0, 1, 9, dtype=np.float32)[:, None]
    expected = trained.decode((1 - t) * latents[first] + t * latents[second])[..., 0]
    np.testing.assert_allclose(strip, 255 * expected, atol=1)


def test_sliders_set_the_decoded_code(browser: PageDriver, models: Models, write_page: Write) -> None:
    trained = models("linear")
    browser.open(write_page(trained))
    sliders = browser.browser.find_elements("css selector", "#sliders input[type=range]")
    assert [each.accessible_name for each in sliders] == [f"latent dimension {i}" for i in (1, 2, 3)]
    browser.press("#sliders label:nth-child(2) input", *[RIGHT] * 5)
    latents = np.array([[float(each.get_attribute("value")) for each in sliders]], np.float32)
    recon = trained.decode(latents)[0]
    np.testing.assert_allclose(browser.pixels("#decoded")[..., :1], 255 * recon, atol=1)


def test_the_keyboard_reaches_map_and_pad(browser: PageDriver, models: Models, write_page: Write) -> None:
    browser.open(write_page(models("linear")))
    before = browser.pixels("#map")
    browser.press("#map", LEFT)
    assert browser.text("#tooltip").startswith("test image 1, label")
    browser.press("#map", LEFT, RIGHT, LEFT, ENTER, RIGHT, SPACE)
    assert browser.text("#chosen").count("test image") == 2
    assert not np.array_equal(browser.pixels("#map"), before)
    browser.press("#pad", DELETE)
    assert not browser.pixels("#pad")[..., :3].any()
    focusable = "button, input, [tabindex]"
    assert browser.run(f"return [...document.querySelectorAll('{focusable}')].every((each) => each.tabIndex === 0)")


def test_dragging_and_keys_turn_a_map_of_three_dimensions_only(
    browser: PageDriver, models: Models, write_page: Write
) -> None:
    for name, turns in (("linear", True), ("linear-2", False), ("conv", False)):
        browser.open(write_page(models(name)))
        before = browser.pixels("#map")
        browser.drag("#map", (0, 0), (60, 20), (120, 40))
        browser.point("#map", (-1, -200 if turns else -235))
        changed = float((browser.pixels("#map") != before).any(-1).mean())
        assert (changed > 0.02) == turns
        assert browser.element("#turning").is_displayed() == turns
        before = browser.pixels("#map")
        browser.press("#map", SHIFT_RIGHT)
        assert (float((browser.pixels("#map") != before).any(-1).mean()) > 0.02) == turns


@pytest.mark.parametrize("name", ["linear-1", "linear-2-tanh", "linear-784"])
@pytest.mark.parametrize("labelled", [True, False])
def test_every_latent_dimension_and_images_without_labels(
    name: str, labelled: bool, browser: PageDriver, models: Models, write_page: Write, glyphs: ae_jax.Dataset
) -> None:
    trained = models(name)
    test_set = glyphs if labelled else dataclasses.replace(glyphs, labels=None)
    browser.open(write_page(trained, test_set))
    assert browser.run("return document.querySelectorAll('#sliders input').length") == trained.model.latent_dim
    assert browser.run("return document.querySelectorAll('#legend button').length") == 10 * labelled
    assert len(np.unique(browser.pixels("#map").reshape(-1, 4), axis=0)) > 20
    browser.press("#map", RIGHT, ENTER)
    assert browser.text("#chosen") == ("Chosen: test image 1" + labelled * f", label {glyphs.labels[0]}")


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_screen(width: int, browser: PageDriver, models: Models, write_page: Write) -> None:
    browser.open(write_page(models("conv")), width=width)
    browser.press("#map", RIGHT, ENTER, RIGHT, ENTER)
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_an_example_is_drawn_stroke_by_stroke_unless_motion_is_reduced(
    browser: PageDriver, models: Models, write_page: Write
) -> None:
    path = write_page(models("linear"))
    inked = []
    for reduced_motion in (False, True):
        browser.open(path, reduced_motion=reduced_motion, wait=False)
        first = np.count_nonzero(browser.pixels("#pad")[..., 0])
        browser.wait_until("document.querySelector('#error').textContent.includes('error')")
        inked.append((first, np.count_nonzero(browser.pixels("#pad")[..., 0])))
    (first, later), (still, still_later) = inked
    assert first < later < still == still_later


def test_a_random_test_digit_replaces_the_example_and_is_encoded_itself(
    browser: PageDriver, models: Models, write_page: Write, glyphs: ae_jax.Dataset
) -> None:
    browser.open(write_page(models("linear")), reduced_motion=False)
    browser.element("#pad-example").click()  # while the example is being drawn
    browser.settle()
    image, pad = browser.pixels("#input")[..., 0], browser.pixels("#pad")
    assert (glyphs.images[..., 0] == image).all((1, 2)).any()
    for _ in range(5):
        browser.settle()
    np.testing.assert_array_equal(browser.pixels("#pad"), pad)
    (row,) = np.flatnonzero((glyphs.images[..., 0] == image).all((1, 2)))
    assert browser.element("#neighbours button").get_attribute("title").startswith(f"test image {row + 1},")
    browser.drag("#pad", *RIGHT_HALF)  # on an empty pad
    assert np.count_nonzero(browser.pixels("#pad")[..., 0]) < 20_000


def test_drawings_along_the_border_stay_light_on_dark_and_several_shapes_are_reported(
    browser: PageDriver, models: Models, write_page: Write
) -> None:
    browser.open(write_page(models("linear")))
    browser.drag("#pad", (-135, -135), (135, -135), (135, 135), (-135, 135), (-135, -135))
    image = browser.pixels("#input")[..., 0]
    assert not image[10:18, 10:18].any()
    assert image.max() == 255


def test_fingers_draw_one_at_a_time_and_a_press_beside_the_pad_draws_nothing(
    browser: PageDriver, models: Models, write_page: Write
) -> None:
    browser.open(write_page(models("linear")))
    browser.touch("#pad", [[(-50, -50)], [(-50, 50)]])
    one_finger = browser.pixels("#pad")[..., 0]
    assert one_finger[90:190, 90].all()
    browser.element("#pad-clear").click()
    browser.touch("#pad", [[(-50, -50), (50, -50)], [(-50, 0), (50, 0)], [(-50, 50), (50, 50)]])
    np.testing.assert_array_equal(browser.pixels("#pad")[..., 0] > 0, one_finger > 0)
    browser.drag("h1", (0, 0), (-200, 150), (-200, 300))
    np.testing.assert_array_equal(browser.pixels("#pad")[..., 0] > 0, one_finger > 0)


def test_clicks_between_points_legend_and_position_of_the_interpolation(
    browser: PageDriver, models: Models, write_page: Write
) -> None:
    browser.open(write_page(models("linear-2")))
    decoded = browser.pixels("#decoded")
    browser.point("#map", (200, 230), click=True)
    assert not np.array_equal(browser.pixels("#decoded"), decoded)
    before = browser.pixels("#map")
    browser.element("#legend button").click()
    browser.settle()
    assert browser.element("#legend button").get_attribute("aria-pressed") == "true"
    assert (browser.pixels("#map") != before).any(-1).sum() > 1000
    browser.press("#map", RIGHT, ENTER, RIGHT, RIGHT, ENTER)
    end = browser.pixels("#decoded")
    browser.press("#interpolation-position", HOME)
    start = browser.pixels("#decoded")
    strip = browser.pixels("#interpolation-strip")
    np.testing.assert_array_equal(start, strip[:, :28])
    np.testing.assert_allclose(end.astype(int), strip[:, -28:], atol=1)


def test_colours_follow_the_system(browser: PageDriver, models: Models, write_page: Write) -> None:
    browser.open(write_page(models("linear")))
    light = browser.run("return getComputedStyle(document.body).backgroundColor"), browser.pixels("#code")
    browser.prefer("color-scheme", "dark")
    browser.settle()
    dark = browser.run("return getComputedStyle(document.body).backgroundColor"), browser.pixels("#code")
    browser.prefer("color-scheme", "light")
    assert not np.array_equal(light[1], dark[1])


def test_outliers_many_labels_and_any_label(
    browser: PageDriver, models: Models, write_page: Write, glyphs: ae_jax.Dataset
) -> None:
    images = np.repeat(glyphs.images[:1], 300, axis=0)
    images[7] = 255
    labels = np.arange(300, dtype=np.int32) * 7_000_000 - 10**9
    browser.open(write_page(models("linear"), ae_jax.Dataset("own.npz", images, labels)))
    browser.press("#map", RIGHT)
    assert browser.text("#tooltip") == "test image 1, label -1000000000"
    assert browser.run("return document.querySelectorAll('#legend button').length") == 0
    few = np.where(np.arange(300) % 2, -5, 10**9).astype(np.int32)
    browser.open(write_page(models("linear-1"), ae_jax.Dataset("own.npz", glyphs.images, few)))
    swatches = browser.run("return [...document.querySelectorAll('#legend i')].map((each) => each.style.background)")
    assert len(set(swatches)) == 2


def test_wrong_sizes_are_errors(browser: PageDriver, models: Models, write_page: Write) -> None:
    browser.open(write_page(models("linear")))
    for call in ("encode(new Float32Array(10))", "decode(new Float32Array(4))", "reconstruct(new Float32Array(0))"):
        message = browser.run(f"try {{ aeJax.{call}; return '' }} catch (error) {{ return String(error) }}")
        assert message.startswith("RangeError: expected")
