"""What to sweep over."""

import dataclasses
import itertools
from typing import Any, Literal

from ae_jax.choices import Arch, Output, Precision, WeightDecayMode
from ae_jax.config import TrainConfig, setting
from ae_jax.errors import InputError

_OF_TRAINING = {field.name: field for field in dataclasses.fields(TrainConfig)}
_MOST = 10_000


def of_training(name: str) -> Any:
    """The setting of that name of a single run."""
    field = _OF_TRAINING[name]
    return dataclasses.field(default=field.default, metadata=field.metadata)


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """The settings of a sweep; `InputError` for a value that none can have."""

    seeds: int = setting(8, "how many seeds each setting is trained with")
    learning_rate: tuple[float, ...] = setting((1e-3,), "Adam's step sizes, at their highest")
    weight_decay: tuple[float, ...] = setting((1e-5,), "rates at which the parameters shrink")
    seed: int = setting(0, "the first of the seeds")
    arch: Arch = of_training("arch")
    latent_dim: int | None = of_training("latent_dim")
    output: Output = of_training("output")
    noise: float = of_training("noise")
    dataset: str = of_training("dataset")
    epochs: int = of_training("epochs")
    batch_size: int = of_training("batch_size")
    schedule: Literal["constant", "cosine"] = of_training("schedule")
    warmup: float = of_training("warmup")
    beta1: float = of_training("beta1")
    beta2: float = of_training("beta2")
    weight_decay_mode: WeightDecayMode = of_training("weight_decay_mode")
    init: Literal["flax", "torch"] = of_training("init")
    precision: Precision = of_training("precision")
    devices: str = setting("auto", "how many CPU cores, GPUs or TPU cores share the members; auto: all")
    at_once: int | None = setting(None, "members that a device trains at a time, at most; default 1 on CPUs, else all")
    checkpoint_every: str = of_training("checkpoint_every")
    keep: int = setting(3, "newest checkpoints that are kept")
    run_dir: str | None = setting(None, "where the sweep is written; default runs/sweep-<arch>, …-2, …")
    data_dir: str | None = of_training("data_dir")
    manual_dir: str | None = of_training("manual_dir")

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay"):
            values = tuple(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise InputError(f"--{name.replace('_', '-')} must be one or more different numbers, not {values}.")
            object.__setattr__(self, name, values)  # which is a list in a file
        num_members = self.seeds * len(self.settings)
        if self.seeds < 1 or num_members > _MOST:
            raise InputError(f"--seeds must be at least 1 and make at most {_MOST:,} runs, not {num_members:,}.")
        if self.at_once is not None and self.at_once < 1:
            raise InputError(f"--at-once must be at least 1, not {self.at_once}.")
        for seed, (learning_rate, weight_decay) in itertools.product((0, self.seeds - 1), self.settings):
            self._member(self.seed + seed, learning_rate, weight_decay)  # which says what is wrong with it

    @property
    def settings(self) -> list[tuple[float, float]]:
        """Learning rate and weight decay of each setting."""
        return list(itertools.product(self.learning_rate, self.weight_decay))

    @property
    def members(self) -> list[TrainConfig]:
        """The single runs, all seeds of a setting together."""
        seeds = range(self.seed, self.seed + self.seeds)
        return [self._member(seed, *setting) for setting, seed in itertools.product(self.settings, seeds)]

    def _member(self, seed: int, learning_rate: float, weight_decay: float) -> TrainConfig:
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        shared = {name: value for name, value in shared.items() if name in _OF_TRAINING}
        own = {"seed": seed, "learning_rate": learning_rate, "weight_decay": weight_decay}
        return TrainConfig(**shared | own | {"run_dir": None})
