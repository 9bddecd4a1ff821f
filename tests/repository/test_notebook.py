"""The lesson, as its readers run it: from top to bottom, in a kernel."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "notebooks" / "autoencoder.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.usefixtures("environment", "offline", "optimised")
def test_it_runs_from_top_to_bottom_and_shows_what_it_says(notebook: nbformat.NotebookNode) -> None:
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    text = "".join(output.text for each in outputs.values() for output in each if output.output_type == "stream")
    pictures = {name for name, each in outputs.items() if any("image/png" in output.get("data", {}) for output in each)}
    assert pictures == {"show", "train", "train-conv", "pca", "codes", "walk", "change"}
    first, *_, last = (float(loss) for loss in re.findall(r"step +\d+   loss ([\d.]+)", text))
    assert last < first / 4
    assert float(re.search(r"largest difference of a pixel: (\S+)", text)[1]) <= 1e-6  # float32


def test_it_is_kept_without_outputs_and_names_the_repository_once(notebook: nbformat.NotebookNode) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    sources = "\n".join(cell.source for cell in notebook.cells)
    assert sources.count("://github.com") == 1
    assert "REPOSITORY" in code[0].source
