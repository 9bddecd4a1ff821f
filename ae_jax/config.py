"""Settings of training runs and sweeps, with their defaults, help texts and rules. It imports no JAX."""

import contextlib
import dataclasses
import functools
import itertools
import operator
import types
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from ae_jax.errors import InputError

Arch: TypeAlias = Literal["conv", "linear", "conv-pool"]
Output: TypeAlias = Literal["sigmoid", "tanh"]
Activation: TypeAlias = Literal["relu", "tanh"]
Loss: TypeAlias = Literal["mse", "cross-entropy"]
Devices: TypeAlias = int | Literal["auto"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
Optimizer: TypeAlias = Literal["adam", "muon"]
WeightDecayMode: TypeAlias = Literal["decoupled", "l2"]

GROUPS = ("everyday", "optimizer", "machine and data", "output")  # of `--help`
_MAX_STEPS = 2**31 - 1  # steps are counted in 32 bits on the device
MAX_SEED = 2**32 - 1
_MAX_MEMBERS = 10_000  # of a sweep
MAX_FLOAT = 3.4e38  # float32, the dtype on the device, ends just above
_MAX_BETA = 0.9999999  # float32 rounds what is closer to 1 to 1, by whose distance Adam divides
_RULES = {"least": ("at least", operator.ge), "above": ("above", operator.gt), "most": ("at most", operator.le)}
_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def setting(group: str, default: Any, help: str, **bounds: float) -> Any:
    """Declare a dataclass field that becomes a flag of a group of `--help`.

    The default is appended to the text `help` unless that has "(default: …)". The bounds of a number,
    or of each of several, are `least`, `above` and `most`.
    """
    return dataclasses.field(default=default, metadata={"help": help, "group": group, "bounds": bounds})


everyday, training, machine, saving = (functools.partial(setting, group) for group in GROUPS)  # in this order


def read_setting(name: str, text: str, hint: Any) -> Any:
    """Read the value of the setting `name` from a command line; `InputError` if the text has none of type `hint`."""
    for kind in (str, float, int):
        with contextlib.suppress(ValueError):
            if _conforms(value := kind(text), hint):
                return value
    raise _wrong_type(name, text, hint)


@dataclasses.dataclass(frozen=True)
class SharedConfig:
    """The settings that training runs and sweeps have in common; raises `InputError` for an invalid value."""

    arch: Arch = everyday("conv", "model; conv-pool uses max pooling")
    latent_dim: int | None = everyday(None, "latent dimension (default: 3 for linear, otherwise 64)", least=1, most=784)
    hidden: tuple[int, ...] | None = everyday(
        None, "layer widths between image and code (default: 128 64 12; conv: channels, 16 32)", least=1, most=2**16
    )
    activation: Activation = everyday("relu", "activation of the hidden layers")
    output: Output = everyday("sigmoid", "output activation; tanh models work in [-1, 1] internally")
    loss: Loss = everyday("mse", "squared error, or binary cross-entropy per pixel; test errors are MSEs in any case")
    noise: float = everyday(0.0, "std of Gaussian noise added to training inputs (denoising)", least=0, most=10)
    dataset: str = everyday("auto", "auto, mnist, fashion_mnist, kmnist, emnist/letters, glyphs, or .npy/.npz/.csv")
    epochs: int = everyday(10, "passes over the training images", least=1, most=_MAX_STEPS)
    steps_per_epoch: int | None = everyday(
        None, "maximum steps per epoch (default: one pass)", least=1, most=_MAX_STEPS
    )
    batch_size: int = everyday(64, "images per optimizer step", least=1, most=_MAX_STEPS)
    seed: int = everyday(0, "seed of the initialisation and the shuffling", least=0, most=MAX_SEED)
    optimizer: Optimizer = training("adam", "adam, or muon: orthogonal updates for kernels")
    schedule: Literal["constant", "cosine", "linear"] = training(
        "constant", "learning-rate schedule: constant, or cosine or linear decay to 0"
    )
    warmup: float = training(0.0, "fraction of all steps used for linear warm-up", least=0, most=1)
    beta1: float = training(0.9, "Adam decay rate of the first moment, Muon momentum", least=0, most=_MAX_BETA)
    beta2: float = training(0.999, "Adam decay rate of the second moment", least=0, most=_MAX_BETA)
    weight_decay_mode: WeightDecayMode = training("decoupled", "decoupled as in AdamW, or l2: added to the gradient")
    init: Literal["flax", "torch", "mean"] = training(
        "flax", "parameter initialisation: flax or PyTorch defaults; mean: flax, output at the mean pixel"
    )
    precision: Precision = machine("float32", "dtype of the arithmetic; parameters and loss stay float32")
    devices: Devices = machine("auto", "devices per host for data parallelism; auto picks the fastest number", least=1)
    run_dir: str | None = saving(None, "run directory (default: runs/<arch>, runs/<arch>-2, …)")
    data_dir: str | None = machine(None, "TFDS data directory (default: $TFDS_DATA_DIR or ~/tensorflow_datasets)")
    manual_dir: str | None = machine(None, "directory with the dataset's official files (default: $AE_JAX_MANUAL_DIR)")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # from JSON, which has no tuples
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            _check(field, value)
        if self.arch != "linear" and self.hidden is not None and len(self.hidden) != 2:
            raise InputError(f"`hidden` must be two numbers of channels for {self.arch}, not {self.hidden}.")


@dataclasses.dataclass(frozen=True)
class TrainConfig(SharedConfig):
    """The settings of one training run; raises `InputError` for an invalid value."""

    learning_rate: float = everyday(1e-3, "peak learning rate", above=0, most=MAX_FLOAT)
    weight_decay: float = training(1e-5, "weight decay coefficient", least=0, most=MAX_FLOAT)
    validation: int = machine(0, "training images to hold out, the last ones, for validation", least=0)
    checkpoint_every: int = saving(1, "epochs between checkpoints; 0: only after the last", least=0)
    keep: int = saving(3, "newest checkpoints to keep, besides the one with the lowest validation loss", least=1)
    figure_every: int = saving(4, "epochs between reconstruction figures; 0: only after the last", least=0)
    tensorboard: bool = saving(False, "write metrics and figures for TensorBoard into tensorboard/")
    distributed: bool = machine(False, "join a distributed job, on a cluster that JAX detects")


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
        None, "members trained at a time per device (default: 1 on CPUs, otherwise all)", least=1
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


def fast(arch: Arch = "conv", **settings: Any) -> TrainConfig:
    """The settings that reach the tutorial's test error soonest, measured on MNIST; `settings` override them."""
    return TrainConfig(arch=arch, **_FAST.get(arch, {}) | settings)


_MUON: dict[str, Any] = {"optimizer": "muon", "schedule": "linear", "beta2": 0.95}
_FAST: dict[str, dict[str, Any]] = {
    "conv": _MUON | {"epochs": 1, "steps_per_epoch": 450, "learning_rate": 2e-2, "init": "mean"},
    "conv-pool": _MUON | {"epochs": 1, "steps_per_epoch": 350, "learning_rate": 2e-2, "init": "mean"},
    "linear": _MUON | {"epochs": 2, "steps_per_epoch": 400, "batch_size": 128, "learning_rate": 3.5e-2, "warmup": 0.1},
}


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    if not _conforms(value, field.type):
        raise _wrong_type(field.name, value, field.type)
    for name, bound in field.metadata["bounds"].items():
        rule, holds = _RULES[name]
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, int | float) and not holds(each, bound):
                raise InputError(f"`{field.name}` must be {rule} {bound}, not {each}.")


def _wrong_type(name: str, value: Any, hint: Any) -> InputError:
    return InputError(f"`{name}` must be {_describe(hint)}, not {value!r}.")


def _conforms(value: Any, hint: Any) -> bool:
    args = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_conforms(value, option) for option in args)
    if get_origin(hint) is Literal:
        return value in args
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_conforms(each, args[0]) for each in value)
    return isinstance(value, (int, float) if hint is float else hint)


def _describe(hint: Any) -> str:
    args = get_args(hint)
    if get_origin(hint) is Literal:
        return " or ".join((", ".join(args[:-1]), args[-1])) if len(args) > 1 else str(args[0])
    if get_origin(hint) is tuple:
        return "one or more numbers" if float in args else "one or more whole numbers"
    return " or ".join(_describe(each) for each in args if each is not types.NoneType) or _TYPE_NAMES[hint]
