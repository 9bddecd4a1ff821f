"""Settings of the fault injection."""

import dataclasses
import os
from typing import Literal, TypeAlias

from ae_jax.config import setting
from ae_jax.errors import InputError

Part: TypeAlias = Literal[
    "all", "kill", "signal", "interrupt", "disk", "damage", "files", "checkpoints", "commands", "together"
]


@dataclasses.dataclass(frozen=True)
class FaultsConfig:
    """The settings of `scripts/faults.py`; raises `InputError` for an invalid value."""

    part: Part = setting("all", "kind of fault")
    kills: int = setting(100, "runs killed with SIGKILL at random times and resumed")
    signals: int = setting(20, "runs stopped with SIGTERM and SIGINT at random times and resumed")
    interrupts: int = setting(200, "commands ended with SIGTERM or SIGINT at random moments")
    flips: int = setting(1000, "single bit flips in checkpoints and datasets")
    truncations: int = setting(200, "truncations of the same files")
    files: int = setting(2000, "bit flips and truncations of own files: .npy, .npz, .png, .jpg, .safetensors, .pt")
    checkpoints: int = setting(300, "hostile checkpoints with a valid digest")
    commands: int = setting(1000, "random command lines")
    together: int = setting(4, "pairs of concurrent runs in one directory")
    seed: int = setting(0, "random seed")
    jobs: int = setting(os.cpu_count() or 1, "processes to run at a time")
    manual_dir: str | None = setting(None, "directory of MNIST's official files (default: $AE_JAX_MANUAL_DIR)")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if isinstance(number := getattr(self, field.name), int) and field.name != "seed" and number < 1:
                raise InputError(f"--{field.name} must be at least 1, not {number}.")
