"""Settings of a sweep, with their defaults, help texts and rules. It imports no JAX."""

import dataclasses
import itertools

from ae_jax.config import MAX_FLOAT, MAX_SEED, Devices, SharedConfig, TrainConfig, everyday, machine, saving
from ae_jax.errors import InputError

_MAX_MEMBERS = 10_000


@dataclasses.dataclass(frozen=True)
class SweepConfig(SharedConfig):
    """The settings of a sweep; raises `InputError` for an invalid value."""

    seeds: int = everyday(8, "seeds per setting", least=1)
    learning_rate: tuple[float, ...] = everyday((1e-3,), "peak learning rates", above=0, most=MAX_FLOAT)
    weight_decay: tuple[float, ...] = everyday((1e-5,), "weight decay coefficients", least=0, most=MAX_FLOAT)
    seed: int = everyday(0, "first of the seeds", least=0, most=MAX_SEED)
    devices: Devices = machine("auto", "devices that share the members; auto: all", least=1)
    validation: int | None = machine(
        None, "training images to hold out, the last ones (default: 5000, or a tenth of fewer than 50,000)", least=0
    )
    members_per_device: int | None = machine(
        None, "members that a device trains at a time (default: 1 on CPUs, otherwise all)", least=1
    )
    run_dir: str | None = saving(None, "run directory (default: runs/sweep-<arch>, …-2, …)")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rate", "weight_decay"):
            values = getattr(self, name)
            if not 0 < len(set(values)) == len(values):
                raise InputError(f"`{name}` must be one or more different numbers, not {values}.")
        num_members = self.seeds * len(self.settings)
        if num_members > _MAX_MEMBERS:
            raise InputError(f"`seeds` must make at most {_MAX_MEMBERS:,} members, not {num_members:,}.")

    @property
    def settings(self) -> list[tuple[float, float]]:
        """The pairs of learning rate and weight decay."""
        return list(itertools.product(self.learning_rate, self.weight_decay))

    @property
    def members(self) -> list[TrainConfig]:
        """The settings of each member; the seeds of one setting are adjacent."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(SharedConfig)}
        first = TrainConfig(**shared | {"run_dir": None})
        return [
            dataclasses.replace(first, seed=self.seed + i, learning_rate=rate, weight_decay=decay)
            for rate, decay in self.settings
            for i in range(self.seeds)
        ]
