"""Generated flips and truncations of user-supplied files: a result or a one-line error, never a traceback."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

import ae_jax
from ae_jax.data.array_files import read_images
from ae_jax.exchange.torch_files import read_state_dict
from tests.support.corruption import corruptions


def _content(write: Callable[[io.BytesIO], object]) -> bytes:
    content = io.BytesIO()
    write(content)
    return content.getvalue()


def _contents() -> dict[str, bytes]:
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    labels = np.arange(20)
    return {
        "own.npy": _content(lambda file: np.save(file, images)),
        "own.npz": _content(lambda file: np.savez(file, images=images, labels=labels)),
        "compressed.npz": _content(lambda file: np.savez_compressed(file, images=images // 64, labels=labels)),
        "digit.png": _content(lambda file: Image.fromarray(images[0]).save(file, "PNG")),
        "palette.png": _content(lambda file: Image.fromarray(images[0]).convert("P").save(file, "PNG")),
        "model.safetensors": save({"encoder.0.weight": np.ones((3, 2), np.float32)}, {"format": "pt"}),
    }


@pytest.mark.parametrize("name", _contents())
def test_corrupt_files_are_read_or_raise_one_line_errors(name: str, tmp_path: Path) -> None:
    path, messages = tmp_path / name, []
    readers: dict[str, list[Callable[[Path], object]]] = {".png": [read_images], ".safetensors": [read_state_dict]}
    for content in corruptions(_contents()[name], 100, seed=0):
        path.write_bytes(content)
        for read in readers.get(path.suffix, [read_images, ae_jax.load_dataset]):
            try:
                read(path)
            except ae_jax.InputError as error:
                messages.append(str(error))
    assert len(messages) >= 25  # at least what is truncated
    assert all(message.isprintable() and name in message for message in messages)
