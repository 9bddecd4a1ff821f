"""An explorer in a browser: what a user does with it, and what it shows."""

from pathlib import Path
from typing import Any

import numpy as np
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

_CALL = "return Array.from(arguments[0].map((x) => Float32Array.from(x)).map(aeJax[arguments[1]])).map((x) => [...x])"
_FRAMES = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"


class PageDriver:
    """A browser that shows an explorer."""

    def __init__(self, browser: WebDriver) -> None:
        self.browser = browser

    def open(self, path: Path, *, width: int = 1440, reduced_motion: bool = True, wait: bool = True) -> None:
        """Open a page and, unless told otherwise, wait until all test images have their codes."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.prefer("reduced-motion", "reduce" if reduced_motion else "no-preference")
        self.browser.get(path.as_uri())
        if wait:
            self.browser.execute_async_script("aeJax.ready.then(arguments[0])")
            self.settle()

    def prefer(self, setting: str, value: str) -> None:
        """Set what the user prefers: `reduced-motion` or `color-scheme`."""
        feature = {"name": f"prefers-{setting}", "value": value}
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
        return np.array(self.browser.execute_script(_CALL, arrays.tolist(), function), np.float32)

    def run(self, script: str, *args: Any) -> Any:
        """The result of a script."""
        return self.browser.execute_script(script, *args)

    def element(self, selector: str) -> Any:
        """The element that a selector matches."""
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return self.element(selector).text

    def pixels(self, selector: str) -> np.ndarray:
        """The pixels of a canvas, u8[h, w, 4]."""
        script = """
            const {width, height} = arguments[0];
            return [width, height, ...arguments[0].getContext("2d").getImageData(0, 0, width, height).data]"""
        width, height, *data = self.run(script, self.element(selector))
        return np.array(data, np.uint8).reshape(height, width, 4)

    def drag(self, selector: str, *points: tuple[int, int]) -> None:
        """Press at the first point, in CSS pixels from the centre of the element, move over the others, let go."""
        element = self.element(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        actions = ActionChains(self.browser, duration=20).move_to_element_with_offset(element, *points[0])
        actions.click_and_hold()
        for (x, y), (x_before, y_before) in zip(points[1:], points, strict=False):
            actions.move_by_offset(x - x_before, y - y_before)
        actions.release().perform()
        self.settle()

    def point(self, selector: str, point: tuple[int, int], *, click: bool = False) -> None:
        """Point at a place, in CSS pixels from the centre of the element, and click there."""
        element = self.element(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        actions = ActionChains(self.browser, duration=20).move_to_element_with_offset(element, *point)
        (actions.click() if click else actions).perform()
        self.settle()

    def touch(self, selector: str, frames: list[list[tuple[int, int]]]) -> None:
        """Put fingers down at the first places, in CSS pixels from the centre, move them to the others, lift them."""
        element = self.element(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        box = self.run("return arguments[0].getBoundingClientRect().toJSON()", element)
        for i, places in enumerate(frames):
            points = [
                {"x": box["x"] + box["width"] / 2 + x, "y": box["y"] + box["height"] / 2 + y, "id": finger}
                for finger, (x, y) in enumerate(places)
            ]
            kind = "touchMove" if i else "touchStart"
            self.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        self.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
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
