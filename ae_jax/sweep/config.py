"""Settings of a sweep: seeds, learning rates and weight decays."""

import dataclasses
import itertools

from ae_jax.choices import Devices
from ae_jax.config import SharedConfig, TrainConfig, setting, shared_setting
from ae_jax.errors import InputError

_MAX_MEMBERS = 10_000


@dataclasses.dataclass(frozen=True)
class SweepConfig(SharedConfig):
    """The settings of a sweep; raises `InputError` for an invalid value."""

    seeds: int = setting(8, "seeds per setting", "everyday")
    learning_rate: tuple[float, ...] = setting((1e-3,), "peak learning rates", "everyday")
    weight_decay: tuple[float, ...] = setting((1e-5,), "weight decay coefficients", "everyday")
    seed: int = shared_setting("seed", help="first of the seeds")
    devices: Devices = shared_setting("devices", help="devices that share the members; auto: all")
    validation: int | None = setting(
        None,
        "training images to hold out, the last ones (default: 5000, or a tenth of fewer than 50,000)",
        "machine and data",
    )
    at_once: int | None = setting(
        None, "most members that a device trains at a time (default: 1 on CPUs, otherwise all)", "machine and data"
    )
    keep: int = shared_setting("keep", help="newest checkpoints to keep")
    run_dir: str | None = shared_setting("run_dir", help="run directory (default: runs/sweep-<arch>, …-2, …)")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rate", "weight_decay"):
            values = tuple(getattr(self, name))
            object.__setattr__(self, name, values)  # JSON has only lists
            self._require(name, 0 < len(set(values)) == len(values), "one or more different numbers")
        num_members = self.seeds * len(self.learning_rate) * len(self.weight_decay)
        if self.seeds < 1 or num_members > _MAX_MEMBERS:
            raise InputError(f"--seeds must be at least 1 and make at most {_MAX_MEMBERS:,} runs, not {num_members:,}.")
        self._require("validation", self.validation is None or self.validation >= 0, "at least 0")
        self._require("at_once", self.at_once is None or self.at_once >= 1, "at least 1")
        for seed, (learning_rate, weight_decay) in itertools.product((0, self.seeds - 1), self.settings):
            self._member(self.seed + seed, learning_rate, weight_decay)  # for its validation

    @property
    def settings(self) -> list[tuple[float, float]]:
        """The pairs of learning rate and weight decay."""
        return list(itertools.product(self.learning_rate, self.weight_decay))

    @property
    def members(self) -> list[TrainConfig]:
        """The settings of each member; the seeds of one setting are adjacent."""
        seeds = range(self.seed, self.seed + self.seeds)
        return [self._member(seed, *setting) for setting, seed in itertools.product(self.settings, seeds)]

    def _member(self, seed: int, learning_rate: float, weight_decay: float) -> TrainConfig:
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(SharedConfig)}
        member = {"seed": seed, "learning_rate": learning_rate, "weight_decay": weight_decay, "run_dir": None}
        return TrainConfig(**shared | member)
