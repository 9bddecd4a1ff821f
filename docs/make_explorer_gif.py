"""Record the GIF of the explorer: python docs/make_explorer_gif.py.

Needs Chromium, its driver and selenium: apt-get install chromium chromium-driver; pip install "ae_jax[test]".
The page is that of `pretrained:conv` and MNIST's test set. A mouse draws a 2, pulls a bar of its latent code and
moves over the map of codes. Nothing is random.
"""

import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline
from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver

import ae_jax
from ae_jax.explorer.page import explorer_page

_OUT = Path(__file__).with_name("explorer.gif")
_VIEW = (1100, 638)  # CSS pixels: the headline and the machine, or the map
_SIZE = (800, 464)
_MS_PER_FRAME = 50
_MOVES = 4  # of the pointer per frame
_BAR = 20  # pulled down, it makes a Z of the 2
_POINTER = "#ff7a1a"
_OPTIONS = ("headless=new", "no-sandbox", "disable-dev-shm-usage", "hide-scrollbars", "force-prefers-reduced-motion")


def main() -> None:
    """Record the frames and write the GIF."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    service = webdriver.ChromeService(shutil.which("chromedriver"))  # without a path, selenium asks the network
    for option in _OPTIONS:
        options.add_argument(f"--{option}")
    page = explorer_page(ae_jax.load_pretrained("conv"), ae_jax.load_dataset("mnist", "test"))
    with tempfile.TemporaryDirectory() as folder, webdriver.Chrome(options, service) as browser:
        path = Path(folder) / "explorer.html"
        path.write_text(page)
        metrics = {"width": _VIEW[0], "height": _VIEW[1], "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(path.as_uri())
        browser.execute_async_script("aeJax.ready.then(arguments[0])")
        frames = _record(browser)
    _save(frames)
    print(f"{_OUT}: {len(frames) * _MS_PER_FRAME / 1000:.1f} s, {_OUT.stat().st_size / 2**20:.2f} MiB")


def _record(browser: WebDriver) -> list[Image.Image]:
    """Draw a 2, pull a bar, move over the map."""
    pad, bar = _box(browser, "#pad"), _box(browser, f"#code label:nth-child({_BAR}) input")
    arc = _curve([(0.27, 0.36), (0.33, 0.24), (0.5, 0.17), (0.67, 0.25), (0.68, 0.42), (0.5, 0.63), (0.27, 0.82)], 30)
    base = _curve([(0.27, 0.82), (0.5, 0.8), (0.74, 0.82)], 9)
    stroke = pad[:2] + np.concatenate([arc, base]) * pad[2:]
    pull = bar[:2] + _curve([(0.5, 0.5), (0.5, 0.02), (0.5, 0.45), (0.5, 0.98)], 32) * bar[2:]
    frames = _move(browser, stroke[:1]) * 8
    frames += _move(browser, stroke, is_pressed=True)
    frames += _move(browser, stroke[-1:]) * 10
    frames += _move(browser, _curve([stroke[-1], pull[0]], 8))
    frames += _move(browser, pull, is_pressed=True)
    frames += _move(browser, pull[-1:]) * 6
    left, top, width, height = _box(browser, "#map")
    scroll = _box(browser, "#legend")[1] - 12
    places = (left, top - scroll) + _curve([(0.13, 0.6), (0.45, 0.3), (0.86, 0.3), (0.73, 0.78)], 42) * (width, height)
    for *place, offset in _curve([(*pull[-1], 0), (*places[0], scroll)], 8)[_MOVES - 1 :: _MOVES]:
        browser.execute_script("scrollTo(0, arguments[0])", offset)
        frames += _move(browser, np.array([place]))
    frames += _move(browser, places)
    return frames + frames[-1:] * 7


def _box(browser: WebDriver, selector: str) -> np.ndarray:
    """Left, top, width and height of an element in the view."""
    script = "const {x, y, width, height} = document.querySelector(arguments[0]).getBoundingClientRect();"
    return np.array(browser.execute_script(f"{script} return [x, y, width, height]", selector), float)


def _curve(points: Sequence[Sequence[float]], num_frames: int) -> np.ndarray:
    """Places on a smooth line through points, `_MOVES` per frame, close to each other at its ends."""
    t = np.linspace(0, 1, num_frames * _MOVES)
    return CubicSpline(np.linspace(0, 1, len(points)), points)(t * t * (3 - 2 * t))


def _move(browser: WebDriver, places: np.ndarray, is_pressed: bool = False) -> list[Image.Image]:
    """Move the pointer from place to place, with the button down from the first to the last; return the frames."""
    button = {"button": "left", "buttons": 1, "clickCount": 1} if is_pressed else {}
    kinds = ["mousePressed" if is_pressed else "mouseMoved", *["mouseMoved"] * (len(places) - 1)]
    frames = []
    for i, (kind, (x, y)) in enumerate(zip(kinds, places.tolist(), strict=True), start=1):
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **button})
        if i % _MOVES == 0 or i == len(places):
            frames.append(_capture(browser, x, y, is_pressed))
    if is_pressed:
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseReleased", "x": x, "y": y, **button})
    return frames


def _capture(browser: WebDriver, x: float, y: float, is_pressed: bool) -> Image.Image:
    """A frame, with the pointer as a ring, or as a disk where the button is down."""
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    frame = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    radius, fill = (8, _POINTER) if is_pressed else (11, None)
    ImageDraw.Draw(frame).circle((x, y), radius, fill, _POINTER, width=4)
    return frame.resize(_SIZE, Image.Resampling.LANCZOS)


def _save(frames: list[Image.Image]) -> None:
    """Write the frames with one palette, and without dithering, which would flicker."""
    sample = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames[::12]]))
    palette = sample.quantize(64, Image.Quantize.MAXCOVERAGE, kmeans=4)
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    first.save(_OUT, save_all=True, append_images=others, duration=_MS_PER_FRAME, loop=0, optimize=True)


if __name__ == "__main__":
    main()
