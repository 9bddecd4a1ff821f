"""The settings of the fault programme."""

import dataclasses
import os
from typing import Literal

from ae_jax.config import setting
from ae_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class FaultsConfig:
    """What to do to how many runs."""

    part: Literal["all", "kill", "signal", "disk", "damage", "commands", "together"] = setting("all", "what to do")
    kills: int = setting(100, "runs that are killed (SIGKILL) at random moments and continued")
    signals: int = setting(20, "the same with SIGTERM and SIGINT")
    flips: int = setting(1000, "bits flipped, one at a time, in checkpoints and datasets")
    truncations: int = setting(200, "truncations of the same files")
    commands: int = setting(1000, "random command lines")
    together: int = setting(4, "pairs of runs in one directory")
    seed: int = setting(0, "of all that is random")
    jobs: int = setting(os.cpu_count() or 1, "processes at a time")
    manual_dir: str | None = setting(None, "MNIST's official files, to damage; default $AE_JAX_MANUAL_DIR, else none")

    def __post_init__(self) -> None:
        for name in ("kills", "signals", "flips", "truncations", "commands", "together", "jobs"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be at least 1, not {getattr(self, name)}.")
