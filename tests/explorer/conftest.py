"""A real browser, and pages written for it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from selenium import webdriver

import ae_jax
from ae_jax.explorer.page import explorer_page
from tests.support.page_driver import PageDriver

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARGUMENTS = ("headless=new", "no-sandbox", "disable-dev-shm-usage", "host-resolver-rules=MAP * ~NOTFOUND")


@pytest.fixture(scope="session")
def chromium() -> Iterator[PageDriver]:
    """Chromium, which finds no host."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ARGUMENTS:
        options.add_argument(f"--{argument}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    browser.set_script_timeout(60)
    yield PageDriver(browser)
    browser.quit()


@pytest.fixture
def browser(chromium: PageDriver) -> Iterator[PageDriver]:
    """The browser, whose console has to be empty at the end of the test."""
    yield chromium
    assert chromium.console() == []


@pytest.fixture(scope="session")
def glyphs() -> ae_jax.Dataset:
    """300 labelled glyphs."""
    images, labels = ae_jax.draw_glyphs(jax.random.key(7), 300)
    return ae_jax.Dataset("glyphs", np.asarray(images), np.asarray(labels))


@pytest.fixture(scope="session")
def write_page(tmp_path_factory: pytest.TempPathFactory, glyphs: ae_jax.Dataset) -> Callable[..., Path]:
    """Writes the explorer of a model, with glyphs or other images, and gives its path."""

    def write(trained: ae_jax.TrainedModel, test_set: ae_jax.Dataset = glyphs) -> Path:
        path = tmp_path_factory.mktemp("page") / "explorer.html"
        path.write_text(explorer_page(trained, test_set), "utf-8")
        return path

    return write
