"""Models with other hidden layers than the tutorial's, as arguments of the fixture `untrained_run`."""

from typing import Any

UNUSUAL: dict[str, dict[str, Any]] = {
    "linear, wide": {"arch": "linear", "hidden": (512, 256, 128), "latent_dim": 64, "activation": "tanh"},
    "linear, deep": {"arch": "linear", "hidden": (16,) * 11, "latent_dim": 1, "output": "tanh"},
    "conv, wide": {"arch": "conv", "hidden": (32, 64), "latent_dim": 32, "output": "tanh"},
    "pooled, tanh": {"arch": "conv-pool", "hidden": (8, 16), "latent_dim": 3, "activation": "tanh", "output": "tanh"},
}
