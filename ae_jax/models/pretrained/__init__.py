"""Weights files of models trained on MNIST, made by `scripts/pretrain.py`."""

from pathlib import Path

PREFIX = "pretrained:"  # of their names where a run is expected
NAMES = ("linear", "conv", "conv-pool")


def weights_path(name: str) -> Path:
    """The weights file of one of `NAMES`."""
    return Path(__file__).with_name(f"{name}.safetensors")


def is_pretrained(path: Path) -> bool:
    """Whether `path` is one of these files."""
    return path.parent == Path(__file__).parent
