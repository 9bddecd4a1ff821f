"""An explorer in a browser: what a user does with it, and what it shows."""

import base64
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

_CALL = "return Array.from(arguments[0].map((x) => Float32Array.from(x)).map(aeJax[arguments[1]])).map((x) => [...x])"
_FRAMES = "let n = 4; const next = () => n-- ? requestAnimationFrame(next) : arguments[0](); next()"


class PageDriver:
    """A browser that shows an explorer. Points are in CSS pixels from the centre of an element."""

    def __init__(self, browser: WebDriver) -> None:
        self.browser = browser

    def open(self, path: Path, *, link: str = "", width: int = 1440, height: int = 900, wait: bool = True) -> None:
        """Open a page with `link` after its address; unless told otherwise, wait until it has its images."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.browser.get("about:blank")  # if only what follows `#` were new, nothing would be loaded
        self.browser.get(path.as_uri() + link)
        if wait:
            self.browser.execute_async_script("aeJax.ready.then(arguments[0])")
            self.settle()

    def prefer_scheme(self, value: str) -> None:
        """Set the colour scheme that the user prefers: `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": value}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def wait_until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        script = f"const check = () => {condition} ? arguments[0]() : setTimeout(check, 20); check()"
        self.browser.execute_async_script(script)

    def settle(self) -> None:
        """Wait until what was done is drawn."""
        self.browser.execute_async_script(_FRAMES)

    def call(self, function: str, arrays: np.ndarray) -> np.ndarray:
        """The results of a function of `window.aeJax` for each row of `arrays`."""
        return np.array(self.run(_CALL, arrays.tolist(), function), np.float32)

    def state(self) -> tuple[Any, str]:
        """The present code, f32[d] or None, and where it comes from."""
        code, source = self.run("const {code, source} = aeJax.state(); return [code && [...code], source]")
        return None if code is None else np.array(code, np.float32), source

    def run(self, script: str, *args: Any) -> Any:
        """The result of a script."""
        return self.browser.execute_script(script, *args)

    def element(self, selector: str) -> Any:
        """The element that a selector matches."""
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def elements(self, selector: str) -> list[Any]:
        """All elements that a selector matches."""
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return self.element(selector).text

    def box(self, selector: str) -> dict[str, float]:
        """Where an element is in the window."""
        return self.run("return arguments[0].getBoundingClientRect().toJSON()", self.element(selector))

    def pixels(self, selector: str) -> np.ndarray:
        """The pixels of a canvas, u8[h, w, 4]."""
        return self.decoded(self.run("return arguments[0].toDataURL()", self.element(selector)))

    def decoded(self, url: str) -> np.ndarray:
        """The pixels of a picture in a data URL, u8[h, w, 4]."""
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"))

    def drag(self, selector: str, *points: tuple[int, int]) -> None:
        """Press at the first point, move over the others, let go."""
        actions = self._pointing_at(selector, points[0]).click_and_hold()
        for (x_before, y_before), (x, y) in itertools.pairwise(points):
            actions.move_by_offset(x - x_before, y - y_before)
        actions.release().perform()
        self.settle()

    def point(self, selector: str, point: tuple[int, int] = (0, 0), *, click: bool = False) -> None:
        """Point at a place of an element, and click there."""
        actions = self._pointing_at(selector, point)
        (actions.click() if click else actions).perform()
        self.settle()

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        self.point(selector, click=True)

    def _pointing_at(self, selector: str, point: tuple[int, int]) -> ActionChains:
        return ActionChains(self.browser, duration=20).move_to_element_with_offset(self._centred(selector), *point)

    def _centred(self, selector: str) -> Any:
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.element(selector))
        return self.element(selector)

    def touch(self, selector: str, frames: list[list[tuple[int, int]]], *, lift: bool = True) -> None:
        """Put fingers down at the first places, move them to the others, lift them."""
        self._centred(selector)
        box = self.box(selector)
        left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        kinds = ["touchStart", *["touchMove"] * (len(frames) - 1), *["touchEnd"] * lift]
        for kind, places in zip(kinds, [*frames, []], strict=False):
            points = [{"x": left + x, "y": top + y, "id": finger} for finger, (x, y) in enumerate(places)]
            self.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        self.settle()

    def press(self, selector: str, *keys: str) -> None:
        """Focus an element and press keys."""
        self.run("arguments[0].focus()", self.element(selector))
        for key in keys:  # one, or modifiers and one
            self.element(selector).send_keys(key)
        self.settle()

    def console(self) -> list[Any]:
        """What was written to the console since the last call."""
        return self.browser.get_log("browser")
