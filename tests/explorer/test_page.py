import dataclasses
import itertools
import json
import os
import re
import sys
import webbrowser
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.explorer.page import bundle, explore_run

MARKUP = "<img src=x onerror=alert(1)>.npz"


class Elements(HTMLParser):
    """The names and attributes of a page's elements, as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def content(page: str) -> dict[str, Any]:
    match = re.search(r'<script id="content" type="application/json">(.*?)</script>', page)
    assert match
    return json.loads(match[1])


def test_a_page_with_two_thousand_images_is_complete_and_small(write_page: Callable[..., Path]) -> None:
    images, labels = (np.asarray(each) for each in ae_jax.draw_glyphs(jax.random.key(1), 3000))
    for name in ("linear", "conv"):
        page = write_page(ae_jax.load_pretrained(name), ae_jax.Dataset("glyphs", images, labels)).read_text()
        assert len(page.encode()) < 3 * 2**20
        assert content(page)["numImages"] == 2000
        assert "://" not in page
        assert not [each for each in Elements(page).found if each[0] == "link" and each[1].get("href") != "data:,"]


def test_known_images_have_their_authors_and_licence(write_page: Callable[..., Path], glyphs: ae_jax.Dataset) -> None:
    trained = ae_jax.load_pretrained("linear")
    pages = [
        write_page(trained, dataclasses.replace(glyphs, name=name)).read_text() for name in ("mnist", "mnist/own.npy")
    ]
    assert ["by Yann LeCun and Corinna Cortes, CC BY-SA 3.0" in page for page in pages] == [True, False]


def test_names_of_files_are_text(write_page: Callable[..., Path], glyphs: ae_jax.Dataset) -> None:
    trained = ae_jax.load_pretrained("linear")
    trained.metadata["dataset_used"] = MARKUP
    page = write_page(trained, ae_jax.Dataset(MARKUP, glyphs.images, None)).read_text()
    elements = Elements(page).found
    assert "img" not in [name for name, _ in elements]
    assert [attributes.get("type") for name, attributes in elements if name == "script"] == [
        "application/json",
        "module",
    ]
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_the_page_says_model_dataset_and_test_error_and_what_pooling_passes_on(
    write_page: Callable[..., Path], glyphs: ae_jax.Dataset
) -> None:
    trained = ae_jax.load_pretrained("conv")
    errors = np.square(trained.reconstruct(glyphs.images) - glyphs.images / 255)
    title = f"conv autoencoder of MNIST: test MSE {errors.mean():.5f} on synthetic digits (NOT MNIST)"
    page = write_page(trained).read_text()
    assert f"<title>{title}</title>" in page
    assert f"<footer>{title}, 64-dimensional latent code" in page
    pooling = "borrows these positions from the nearest test image"
    assert [pooling in text for text in (page, write_page(ae_jax.load_pretrained("conv-pool")).read_text())] == [0, 1]


def test_ten_labels_stand_out_from_both_backgrounds(write_page: Callable[..., Path]) -> None:
    def luminance(color: str) -> float:
        levels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    page = write_page(ae_jax.load_pretrained("linear")).read_text()
    colors, cards = content(page)["labels"]["colors"], re.findall(r"--card: light-dark\((#\w{6}), (#\w{6})\)", page)[0]
    assert (len(set(colors)), *cards) == (10, "#ffffff", "#1a2029")
    for pair in itertools.product(colors, cards):
        low, high = sorted(map(luminance, pair))
        assert (high + 0.05) / (low + 0.05) >= 3, pair


def test_command_writes_into_the_run_directory_or_to_a_new_file_and_opens_it(
    trained_run: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_dir, opened = trained_run("linear"), list[str]()
    monkeypatch.setattr(webbrowser, "open", opened.append)
    capsys.readouterr()
    for i in range(2):
        explore_run(str(run_dir), open=bool(i))
    link = (run_dir / "explorer.html").as_uri()
    assert capsys.readouterr().out.startswith(f"Page: {link} (")
    assert opened == [link]
    explore_run(str(run_dir), out=str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_bytes() == (run_dir / "explorer.html").read_bytes()
    for out, message in (("page.html", "already exists"), ("page.txt", r"`out` must end in \.html")):
        with pytest.raises(ae_jax.InputError, match=message):
            explore_run(str(run_dir), out=str(tmp_path / out))


@pytest.mark.skipif(sys.platform != "linux", reason="names of files have to be Unicode here")
def test_names_of_files_that_are_no_text_are_escaped(own_images: Path, tmp_path: Path) -> None:
    own_images.rename(data := os.fsdecode(os.fsencode(tmp_path) + b"/own\xff.npy"))
    explore_run("pretrained:linear", out=str(tmp_path / "page.html"), dataset=data)
    assert r"on own\udcff.npy</title>" in (tmp_path / "page.html").read_text("utf-8")


def test_modules_are_bundled_after_those_that_they_import_with_scopes_of_their_own() -> None:
    modules = {
        "main.js": 'import { a } from "./a.js";\nimport { b } from "./b.js";\nconst hidden = 3;\nprint(a + b);\n',
        "a.js": 'import { b } from "./b.js";\nconst hidden = 1;\nexport const a = b + hidden;\n',
        "b.js": "const hidden = 2;\nexport function b() {}\n",
    }
    script = bundle("main.js", modules.__getitem__)
    assert re.findall(r'^modules\["(\w+)\.js"\]', script, re.MULTILINE) == ["b", "a", "main"]
    assert "import" not in script
    assert "export" not in script
    assert 'const { b } = modules["b.js"];\nconst hidden = 1;\nconst a = b + hidden;\nreturn { a };' in script
