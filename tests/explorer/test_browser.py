"""The explorer in Chromium, opened as a file, with all hosts unreachable."""

import base64
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.data.digit import digit_from_picture
from tests.support.models import UNUSUAL
from tests.support.page_driver import PageDriver

ENTER, LEFT, UP, RIGHT, DOWN = "\ue007", "\ue012", "\ue013", "\ue014", "\ue015"
ESCAPE, DELETE, HOME, SHIFT_RIGHT, CTRL_Z = "\ue00c", "\ue017", "\ue011", "\ue008\ue014", "\ue009z"
SEVEN = [(-60, -80), (60, -80), (0, 20), (-20, 90)]
SCRIBBLE = [(x, y) for x in range(-120, 121, 60) for y in (-120, 120)]
CORNER = (-480, -236)  # a place on the map without a test image
Pages = Callable[[str], tuple[ae_jax.TrainedModel, Path]]
Show = Callable[..., ae_jax.TrainedModel]


@pytest.fixture(scope="module")
def pages(untrained_run: Callable[..., Path], write_page: Callable[..., Path]) -> Pages:
    """The pretrained models, and untrained ones by latent dimension: `linear-784`, `linear-2-tanh`; and their pages."""

    @functools.cache
    def page(name: str) -> tuple[ae_jax.TrainedModel, Path]:
        arch, latent_dim, *output = f"{name}-0".split("-")
        if name in ("linear", "conv", "conv-pool"):
            trained = ae_jax.load_pretrained(name)
        elif name in UNUSUAL:
            trained = ae_jax.load_model(untrained_run(**UNUSUAL[name]))
        else:
            trained = ae_jax.load_model(untrained_run(arch, int(latent_dim), *output[:-1]))
        return trained, write_page(trained)

    return page


@pytest.fixture
def show(browser: PageDriver, pages: Pages, write_page: Callable[..., Path]) -> Show:
    """Opens the page of a model, of glyphs or a `test_set`."""

    def open_page(name: str, test_set: ae_jax.Dataset | None = None, **options: Any) -> ae_jax.TrainedModel:
        trained, path = pages(name)
        browser.open(write_page(trained, test_set) if test_set else path, **options)
        return trained

    return open_page


def image_name(glyphs: ae_jax.Dataset, row: int) -> str:
    assert glyphs.labels is not None
    return f"test image {row + 1} ({'an' if glyphs.labels[row] == 8 else 'a'} {glyphs.labels[row]})"


def map_points(browser: PageDriver, codes: np.ndarray) -> np.ndarray:
    """Where codes of two dimensions are on the map, from its centre."""
    box, low, high = browser.box("#map"), codes.min(0), codes.max(0)
    return (2 * (codes - low) / (high - low) - 1) * [box["width"] / 2 - 34, 34 - box["height"] / 2]


def bars(browser: PageDriver) -> np.ndarray:
    """Value, least and greatest value of each bar."""
    script = "[...document.querySelectorAll('#code input')].map(({value, min, max}) => [value, min, max].map(Number))"
    return np.array(browser.run(f"return {script}"), np.float32)


@pytest.mark.parametrize("name", ["linear", "conv", "conv-pool", "linear-2-tanh", "conv-5-tanh", *UNUSUAL])
def test_arithmetic_is_that_of_the_model(name: str, browser: PageDriver, show: Show, glyphs: ae_jax.Dataset) -> None:
    trained, images = show(name), glyphs.images[:100]
    flat = images.reshape(100, 784).astype(np.float32) / 255
    latents = trained.encode_latents(images)
    np.testing.assert_allclose(browser.call("encode", flat), latents, atol=1e-5, rtol=1e-6)
    recons = trained.reconstruct(images).reshape(100, 784)
    np.testing.assert_allclose(browser.call("reconstruct", flat), recons, atol=1e-5)
    # Codes of test images: with pooling, the nearest test image is the image itself.
    np.testing.assert_allclose(browser.call("decode", latents), recons, atol=1e-5)
    for function in ("encode", "decode", "reconstruct"):
        script = f"try {{ aeJax.{function}(new Float32Array(10)) }} catch (error) {{ return String(error) }}"
        assert browser.run(script).startswith("RangeError: expected ")


def states(browser: PageDriver) -> Iterator[str]:
    """Bring the page into one state after another, in every way; the beginning of what it then says."""
    browser.drag("#pad", *SEVEN)
    yield "Your drawing. Mean squared error 0."
    browser.drag("#code", (0, 0), (0, -30))
    assert browser.run("return document.activeElement.type") == "range"
    yield "Code changed by hand, from your drawing. Mean squared error 0."
    browser.click("#neighbours button:nth-child(2)")
    yield "Test image "
    browser.press("#code label:last-child input", UP, UP)
    yield "Code changed by hand, from test image "
    for button, words in (("mean", "The mean code."), ("random", "A random code."), ("back", "Your drawing. ")):
        browser.click(f"#code-{button}")
        yield words
    browser.point("#map", CORNER, click=True)
    yield "A place on the map. No original"
    browser.click("#interpolation-strip")
    np.testing.assert_array_equal(browser.pixels("#interpolation-strip")[:, 112:140], browser.pixels("#output"))
    yield "Half way between your drawing and a place on the map. "
    browser.click("#interpolation-play")
    browser.click("#code-random")
    yield "A random code."
    browser.press("#interpolation-position", HOME, UP)
    yield "1 % of the way from your drawing to a place on the map. "
    browser.press("#interpolation-position", ESCAPE)
    assert not browser.element("#interpolation").is_displayed()
    yield "A place on the map. "
    browser.click("#neighbours button")
    browser.press("#code label:last-child input", UP, ESCAPE)
    yield "Code changed by hand, from test image "


@pytest.mark.parametrize("name", ["linear", "conv"])
def test_every_state_has_its_words_its_output_and_its_link(name: str, browser: PageDriver, show: Show) -> None:
    show(name)
    browser.run("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    seen = {}
    for words in states(browser):
        code, source = browser.state()
        assert browser.text("#status").startswith(words)
        decoded, (value, low, high) = browser.call("decode", code[None])[0], bars(browser).T
        np.testing.assert_allclose(browser.pixels("#output")[..., 0].ravel(), 255 * decoded, atol=1)
        np.testing.assert_allclose(value, code.clip(low, high), rtol=1e-6)
        browser.click("#copy-link")
        browser.wait_until("location.href === window.copied")
        link = browser.run("return location.hash")
        seen[link] = code, source, browser.pixels("#pad"), browser.pixels("#output")
    browser.click("#pad-clear")
    assert browser.state() == (None, "")
    assert browser.text("#status") == "Draw a digit, or choose one on the map."
    assert browser.element("#hint").is_displayed()
    assert not any(browser.pixels(f"#{canvas}")[..., :3].any() for canvas in ("pad", "output", "input", "difference"))
    browser.wait_until("location.hash === ''")
    for link, (code, source, pad, output) in seen.items():
        show(name, link=link, wait=False)
        browser.wait_until("aeJax.state().code")
        browser.settle()
        np.testing.assert_array_equal(browser.state()[0], code)
        assert browser.state()[1] == source
        assert browser.element("#code-back").is_displayed() == ("drawing=" in link and "code=" in link)
        np.testing.assert_array_equal(browser.pixels("#pad"), pad)
        np.testing.assert_array_equal(browser.pixels("#output"), output)
    for broken in ("image=301", "code=AAAA&source=hand", "code=?", "image=3&page=00000000", "drawing=AAAA"):
        show(name, link=f"#{broken}")
        assert browser.state() == (None, "")
        assert browser.text("#status").startswith(
            "This link does not work here: it is incomplete, or of another model's page."
        )
    browser.run("location.hash = 'image=300'")
    browser.wait_until("aeJax.state().source.startsWith('test image 300 ')")


def test_a_drawing_is_made_a_digit_and_judged_by_the_test_images(
    browser: PageDriver, show: Show, glyphs: ae_jax.Dataset
) -> None:
    trained = show("linear")
    browser.drag("#pad", *SEVEN)
    image = browser.pixels("#input")[..., 0]
    digit = digit_from_picture(browser.pixels("#pad")[..., 0]).image[..., 0]
    assert np.abs(image.astype(int) - digit).max() <= 1  # sums in another order may be rounded the other way
    flat = image.reshape(1, 784).astype(np.float32) / 255
    recons = trained.reconstruct(glyphs.images)
    errors = np.square(recons - glyphs.images / 255).mean((1, 2, 3))
    error = np.square(browser.call("reconstruct", flat) - flat).mean()
    percentage = round(100 * float((errors > error).mean()))
    assert 50 <= percentage <= 99
    words = f"Mean squared error {error:.4f} per pixel, better than {percentage} % of the test images."
    assert browser.text("#status") == f"Your drawing. {words}"
    distances = np.square(trained.encode_latents(glyphs.images) - browser.call("encode", flat)).sum(1)
    titles = [each.get_attribute("title") for each in browser.elements("#neighbours button")]
    assert titles == [image_name(glyphs, int(row)) for row in distances.argsort()[:5]]
    show("linear", ae_jax.Dataset("mnist", np.rint(255 * recons).astype(np.uint8), glyphs.labels))
    browser.drag("#pad", *SCRIBBLE)
    assert "worse than every test image: to this model it is not a digit." in browser.text("#status")


def test_pointing_at_the_map_shows_a_place_or_an_image_and_a_click_keeps_it(
    browser: PageDriver, show: Show, glyphs: ae_jax.Dataset
) -> None:
    codes = show("linear-2").encode_latents(glyphs.images)
    points = map_points(browser, codes)
    grid = np.mgrid[-300:301:20, -200:201:20].reshape(2, -1).T
    place = grid[np.linalg.norm(grid[:, None] - points, axis=-1).min(1).argmax()]
    expected = codes.mean(0) + (place - points.mean(0)) * np.ptp(codes, 0) / np.ptp(points, 0) * [1, -1]
    before = browser.state()[1], browser.pixels("#output")
    for click in (False, True):
        browser.point("#map", tuple(place.tolist()), click=click)
        code, source = browser.state()
        assert source == "a place on the map"
        np.testing.assert_allclose(code, expected, atol=0.003 * np.ptp(codes))
        np.testing.assert_array_equal(browser.pixels("#lens-output"), browser.pixels("#output"))
        browser.point("h1")
        assert browser.state()[1] == (source if click else before[0])
        assert np.array_equal(browser.pixels("#output"), before[1]) != click
        assert not browser.element("#lens").is_displayed()
    first, second = int(codes[:, 0].argmin()), int(codes[:, 0].argmax())
    for row in (first, second):
        at = tuple(np.rint(points[row]).astype(int).tolist())
        browser.point("#map", at)
        assert browser.text("#lens span") == image_name(glyphs, row)
        np.testing.assert_array_equal(browser.pixels("#lens-original")[..., :1], glyphs.images[row])
        browser.point("#map", at, click=True)
        np.testing.assert_array_equal(browser.pixels("#input")[..., :1], glyphs.images[row])
    names = [image_name(glyphs, row) for row in (first, second)]
    assert browser.text("#interpolation-title") == f"From {names[0]} to {names[1]}"
    browser.click("#interpolation-play")
    browser.wait_until("aeJax.state().source.includes('of the way')")
    browser.click("#interpolation-leave")
    assert browser.state()[1] == names[1]
    browser.point("#map", tuple(np.rint(points[first]).astype(int).tolist()), click=True)
    browser.click("#interpolation-play")
    browser.drag("#pad", *SEVEN)  # which stops the playing
    assert browser.state()[1] == "your drawing"
    assert np.count_nonzero(browser.pixels("#pad")[..., 0]) > 2000
    assert browser.console() == []


def test_fingers_decode_by_dragging_choose_by_tapping_and_scroll_the_page(
    browser: PageDriver, show: Show, glyphs: ae_jax.Dataset
) -> None:
    codes = show("linear-2", width=390).encode_latents(glyphs.images)
    browser.touch("#map", [[(-100, 0)], [(-60, 3)], [(10, 0)], [(131, -130)]], lift=False)
    assert browser.element("#lens").is_displayed()
    decoded = browser.pixels("#output")
    browser.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    browser.settle()
    assert browser.state()[1] == "a place on the map"
    np.testing.assert_array_equal(browser.pixels("#output"), decoded)
    points = map_points(browser, codes)
    row = int(np.linalg.norm(points[:, None] - points + 999 * np.eye(300)[..., None], axis=-1).min(1).argmax())
    browser.touch("#map", [[tuple((np.rint(points[row]) + 3).astype(int).tolist())]])
    assert browser.state()[1] == image_name(glyphs, row)
    np.testing.assert_array_equal(browser.pixels("#input")[..., :1], glyphs.images[row])
    before = browser.run("return scrollY")
    browser.touch("#map", [[(0, 100)], [(0, 60)], [(0, 0)], [(0, -100)]])
    browser.wait_until(f"scrollY > {before + 50}")
    assert browser.state()[1] == image_name(glyphs, row)


def test_dragging_and_keys_turn_a_map_of_three_dimensions_only_and_buttons_zoom_each(
    browser: PageDriver, show: Show
) -> None:
    def changed(before: np.ndarray) -> bool:
        browser.point("h1")
        return float((browser.pixels("#map") != before).any(-1).mean()) > 0.02

    for name, turns in (("linear", True), ("linear-2", False), ("conv", False)):
        show(name)
        before = browser.pixels("#map")
        browser.drag("#map", (0, 0), (60, 0), (120, 0))
        assert changed(before) == turns
        assert ("Drag to turn it." in browser.text(".space")) == turns
        before = browser.pixels("#map")
        browser.press("#map", SHIFT_RIGHT)
        assert changed(before) == turns
        before = browser.pixels("#map")
        browser.click("#zoom-in")
        assert changed(before)
        browser.click("#zoom-out")
        assert not changed(before)


def test_bars_are_pulled_up_and_down_and_painted_across(browser: PageDriver, show: Show) -> None:
    show("conv", link="#image=7")
    before, _ = browser.state()
    browser.drag("#code", *[(x, 0) for x in range(-100, 101, 9)])
    after, source = browser.state()
    assert source.startswith("code changed by hand, from test image 7 ")
    _, low, high = bars(browser).T
    is_changed = after != before
    assert 15 <= is_changed.sum() < 40
    assert np.ptp(np.flatnonzero(is_changed)) < 40
    np.testing.assert_allclose(((after - low) / (high - low))[is_changed], 0.5, atol=0.02)
    browser.drag("#code", (0, 0), (0, -70), (0, -150))
    (pulled,) = np.flatnonzero(browser.state()[0] != after)
    np.testing.assert_allclose(browser.state()[0][pulled], high[pulled], rtol=1e-5)
    browser.press("#code label:first-child input", DOWN)
    lowered, _ = browser.state()
    browser.press("#code label:first-child input", RIGHT)
    assert lowered[0] < after[0] < browser.state()[0][0] + 1e-3


def test_every_control_is_reached_by_keyboard_and_has_a_name_and_sliders_a_value(
    browser: PageDriver, show: Show, glyphs: ae_jax.Dataset
) -> None:
    show("linear")
    browser.press("#map", LEFT)
    assert browser.text("#lens span") == image_name(glyphs, 0)
    browser.press("#map", LEFT, RIGHT, LEFT, ENTER, RIGHT, " ")
    assert browser.text("#interpolation-title").count("test image") == 2
    browser.click("#layers summary")
    controls = [each for each in browser.elements("a, button, input, summary, [tabindex='0']") if each.is_displayed()]
    assert len(controls) > 30
    assert [each.get_attribute("outerHTML") for each in controls if not each.accessible_name] == []
    assert all(browser.run("return arguments[0].tabIndex", each) == 0 for each in controls)
    sliders = browser.elements("input[type=range]")
    assert [each.accessible_name for each in sliders[:3]] == [f"latent dimension {i}" for i in (1, 2, 3)]
    for i, value in enumerate(browser.state()[0]):
        assert (
            sliders[i].get_attribute("aria-valuetext")
            == browser.text(f"#code label:nth-child({i + 1}) span")
            == f"{value:.2f}"
        )
    assert sliders[3].get_attribute("aria-valuetext") == "100 % of the way"
    show("conv", dataclasses.replace(glyphs, name="own.npz"), link="#image=7")
    browser.press(".skip", ENTER)
    assert browser.run("return document.activeElement.id") == "after-code"
    assert browser.state()[1].startswith("test image 7 ")
    browser.wait_until("location.hash.startsWith('#image=7&page=')")


@pytest.mark.parametrize("name", ["linear", "conv"])
def test_a_pixel_of_the_output_is_explained_by_the_layer_before_it(name: str, browser: PageDriver, show: Show) -> None:
    trained, output = show(name, link="#image=7"), "#maps figure:last-child canvas"
    browser.click("#layers summary")
    browser.settle()
    assert len(browser.elements("#maps canvas")) == len(trained.params)
    side = browser.box(output)["width"]
    browser.point(output, (round(side * 2.5 / 28), round(side * -1.5 / 28)))
    assert browser.text("#pixel").startswith("Pixel at row 13, column 17: ")
    code, _ = browser.state()
    bound = trained.model.bind({"params": trained.params})
    x = jnp.asarray(code.reshape((1, -1) if name == "linear" else (1, 1, 1, -1)))
    for layer in bound.decoder[:-1]:
        x = jax.nn.relu(layer(x))
    parts = np.asarray(x * jax.grad(lambda x: bound.decoder[-1](x).ravel()[12 * 28 + 16])(x))[0]
    assert (
        f": {browser.call('decode', code[None])[0, 12 * 28 + 16]:.2f}. {np.count_nonzero(parts)} nonzero activations"
        in browser.text("#pixel")
    )
    strongest = np.unravel_index(np.abs(parts).argmax(), parts.shape)
    row, column, unit = (0, 0, *strongest)[-3:]
    place = f"unit {unit + 1}" if name == "linear" else f"map {unit + 1} at row {row + 1}, column {column + 1}"
    sign = "+" if parts[strongest] > 0 else "−"
    assert f"strongest: {place} ({sign}{abs(parts[strongest]):.2f})" in browser.text("#pixel")
    browser.press(output, LEFT, DOWN)
    assert browser.text("#pixel").startswith("Pixel at row 14, column 16: ")
    browser.click("#pad-clear")
    assert not any(canvas.is_displayed() for canvas in browser.elements("#maps canvas"))


@pytest.mark.parametrize("name", ["linear-1", "linear-2-tanh", "linear-784"])
@pytest.mark.parametrize("labelled", [True, False])
def test_every_latent_dimension_and_own_images_without_labels(
    name: str, labelled: bool, browser: PageDriver, show: Show, glyphs: ae_jax.Dataset
) -> None:
    trained = show(name, glyphs if labelled else ae_jax.Dataset("own.npz", glyphs.images, None))
    assert len(browser.elements("#code input")) == trained.model.latent_dim
    assert len(browser.elements("#legend button")) == 10 * labelled
    assert len(np.unique(browser.pixels("#map").reshape(-1, 4), axis=0)) > 20
    assert browser.text("h1").startswith("Draw a digit." if labelled else "Choose an image, or draw one.")
    assert browser.state()[1] == ("" if labelled else "test image 1")
    assert ("digit" in browser.text("body").replace(browser.text("footer"), "")) == labelled
    browser.press("#map", RIGHT, ENTER)
    assert browser.state()[1] == (image_name(glyphs, 0) if labelled else "test image 1")


@pytest.mark.parametrize("name", ["linear", "conv"])
def test_input_code_and_output_follow_each_other_at_every_width(name: str, browser: PageDriver, show: Show) -> None:
    for width in (320, 390, 768, 1440):
        show(name, width=width, height=844)
        browser.press("#map", RIGHT, ENTER, RIGHT, ENTER)
        browser.click("#layers summary")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        browser.run("document.querySelector('#code').scrollIntoView()")
        boxes = [browser.box(f"#{each}") for each in ("pad", "code", "output")]
        start, end = ("left", "right") if width >= 768 else ("top", "bottom")
        assert all(before[end] <= after[start] for before, after in itertools.pairwise(boxes))
        assert -1 < boxes[1]["top"] < boxes[2]["bottom"] <= 844


def test_a_random_image_is_a_test_image_with_its_nearest_codes(
    browser: PageDriver, show: Show, glyphs: ae_jax.Dataset
) -> None:
    show("linear")
    browser.click("#pad-example")
    (row,) = np.flatnonzero((glyphs.images == browser.pixels("#input")[..., :1]).all((1, 2, 3)))
    assert (
        browser.state()[1]
        == browser.element("#neighbours button").get_attribute("title")
        == image_name(glyphs, int(row))
    )
    browser.drag("#pad", *SEVEN)  # on an empty pad
    assert np.count_nonzero(browser.pixels("#pad")[..., 0]) < 20_000


def test_strokes_are_undone_cleared_thin_in_a_small_drawing_and_of_one_finger_at_a_time(
    browser: PageDriver, show: Show
) -> None:
    show("linear")
    browser.drag("#pad", (-12, 0), (12, 0))
    thin = browser.pixels("#pad")[..., 0]
    browser.drag("#pad", (-130, -90), (130, -90))
    thick = browser.pixels("#pad")[..., 0]
    assert 3 <= (thin[:, 140] > 127).sum() < 10
    assert (thick[100:, 140] > 127).sum() == (thick[:100, 140] > 127).sum() >= 20
    browser.click("#pad-undo")
    np.testing.assert_array_equal(browser.pixels("#pad")[..., 0], thin)
    browser.press("#pad", CTRL_Z)
    assert not browser.pixels("#pad")[..., :3].any()
    browser.drag("#pad", (-135, -135), (135, -135), (135, 135), (-135, 135), (-135, -135))
    image = browser.pixels("#input")[..., 0]
    assert not image[10:18, 10:18].any()  # a drawing along the border stays light on dark
    assert image.max() == 255
    browser.press("#pad", DELETE)
    browser.touch("#pad", [[(-50, -50)], [(-50, 50)]])
    one_finger = browser.pixels("#pad")[..., 0]
    assert one_finger.any(1)[100:180].all()
    browser.click("#pad-clear")
    browser.touch("#pad", [[(-50, -50), (50, -50)], [(-50, 0), (50, 0)], [(-50, 50), (50, 50)]])
    np.testing.assert_array_equal(browser.pixels("#pad")[..., 0] > 0, one_finger > 0)
    browser.drag("h1", (0, 0), (-200, 150), (-200, 300))
    np.testing.assert_array_equal(browser.pixels("#pad")[..., 0] > 0, one_finger > 0)


def test_colours_follow_the_system_and_a_label_can_be_highlighted(browser: PageDriver, show: Show) -> None:
    show("linear-2")
    light = browser.pixels("#map")
    browser.click("#legend button")
    assert browser.element("#legend button").get_attribute("aria-pressed") == "true"
    assert (browser.pixels("#map") != light).any(-1).sum() > 1000
    browser.click("#legend button")
    np.testing.assert_array_equal(browser.pixels("#map"), light)
    browser.prefer_scheme("dark")
    browser.settle()
    dark, background = browser.pixels("#map"), browser.element("html").value_of_css_property("background-color")
    browser.prefer_scheme("light")
    assert not np.array_equal(dark, light)
    assert background != browser.element("html").value_of_css_property("background-color")


def test_a_saved_picture_has_input_and_output_and_a_printed_page_is_one_page(browser: PageDriver, show: Show) -> None:
    show("conv", link="#image=7")
    browser.run("HTMLAnchorElement.prototype.click = function () { window.saved = this.href }")
    browser.click("#save-picture")
    picture = browser.decoded(browser.run("return saved"))[45:325:10]
    for left, canvas in ((45, "#input"), (685, "#output")):
        np.testing.assert_array_equal(picture[:, left : left + 280 : 10], browser.pixels(canvas))
    browser.press("#map", RIGHT, ENTER, RIGHT, ENTER)
    pdf = base64.b64decode(browser.browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1


def test_outliers_many_labels_and_any_label(browser: PageDriver, show: Show, glyphs: ae_jax.Dataset) -> None:
    images = np.repeat(glyphs.images[:1], 300, axis=0)
    images[7] = 255
    labels = np.arange(300, dtype=np.int32) * 7_000_000 - 10**9
    show("linear", ae_jax.Dataset("own.npz", images, labels))
    browser.press("#map", RIGHT)
    assert browser.text("#lens span") == "test image 1 (label -1000000000)"
    assert browser.elements("#legend button") == []
    few = np.where(np.arange(300) % 2, -5, 10**9).astype(np.int32)
    show("linear-1", ae_jax.Dataset("own.npz", glyphs.images, few))
    swatches = [each.value_of_css_property("border-bottom-color") for each in browser.elements("#legend button")]
    assert len(set(swatches)) == len(swatches) == 2
