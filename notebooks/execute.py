"""Execute the notebook and store it with its outputs: python notebooks/execute.py.

Needs pip install "ae_jax[test]". The page in it, of a megabyte, is not stored.
"""

import base64
import hashlib
import io
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).with_name("autoencoder.ipynb")


def main() -> None:
    """Run all cells in a kernel, and write outputs and the digest of the cells that made them."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata = {}  # without the times of execution
        if cell.id == "explorer":
            cell.outputs = []
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                output.data["image/png"] = _with_few_colors(png)
    notebook.metadata["executed_cells"] = digest(notebook)
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1024:.0f} KiB")


def digest(notebook: nbformat.NotebookNode) -> str:
    """SHA-256 of the sources of all code cells."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\n\n".join(sources).encode()).hexdigest()


def _with_few_colors(png: str) -> str:
    """The same picture with 64 colours: a third of the bytes."""
    content = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(content, format="PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


if __name__ == "__main__":
    main()
