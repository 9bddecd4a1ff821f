"""Execution of the tutorial notebook from top to bottom, in a Jupyter kernel."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import ae_jax
from notebooks.execute import NOTEBOOK, digest

FIGURES = {"data", "none", "models", "train", "train-conv", "errors", "codes", "interpolation", "change"}


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.usefixtures("environment", "offline")
def test_notebook_executes_with_the_expected_figures_and_losses(
    notebook: nbformat.NotebookNode, glyphs_dir: Path, tmp_path: Path
) -> None:
    """Execute the notebook unchanged, except for its dataset of 12,000 glyphs, and print test losses at the end."""
    glyphs = ae_jax.load_dataset("glyphs", data_dir=glyphs_dir)
    np.savez(tmp_path / "glyphs.npz", images=glyphs.images[:12_000], labels=glyphs.labels[:12_000])
    for cell in notebook.cells:
        cell.source = cell.source.replace('load_dataset("auto"', f'load_dataset("{tmp_path / "glyphs.npz"}"')
    notebook.cells.append(nbformat.v4.new_code_cell("print('test losses:', linear_losses[-1][1], conv_losses[-1][1])"))
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    text = "".join(output.text for each in outputs.values() for output in each if output.output_type == "stream")
    figures = {name for name, each in outputs.items() if any("image/png" in output.get("data", {}) for output in each)}
    assert figures == FIGURES
    linear, conv = (float(loss) for loss in re.search(r"test losses: (\S+) (\S+)", text).groups())
    assert linear < 0.05  # 0.22 before training; the mean image has 0.061
    assert conv < 0.025
    accuracies = [float(percent) for percent in re.findall(r"(?:dimension|dimensions|pixels): ([\d.]+)%", text)]
    assert accuracies[0] < accuracies[1] < accuracies[2]  # none, 3, 64 latent dimensions
    (answer,) = [output.data["text/markdown"] for output in outputs["answer"]]
    assert [f"{percent:.0f} %" in answer for percent in accuracies] == [True] * 4
    (page,) = [output.data["text/html"] for output in outputs["explorer"] if "data" in output]
    assert "<iframe" in page
    assert "aeJax" in page


def test_notebook_is_stored_with_the_outputs_of_its_cells(notebook: nbformat.NotebookNode) -> None:
    advice = "the cells are newer than their outputs; run python notebooks/execute.py"
    assert notebook.metadata.get("executed_cells") == digest(notebook), advice
    code = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    figures = {name for name, cell in code.items() if any("image/png" in each.get("data", {}) for each in cell.outputs)}
    assert figures == FIGURES
    assert NOTEBOOK.stat().st_size <= 600_000


def test_notebook_links_the_repository_once(notebook: nbformat.NotebookNode) -> None:
    sources = "\n".join(cell.source for cell in notebook.cells)
    assert sources.count("://github.com") == 1
    assert "REPOSITORY" in next(cell.source for cell in notebook.cells if cell.cell_type == "code")
