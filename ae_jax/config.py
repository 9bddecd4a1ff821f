"""Settings of a training run: `TrainConfig`, its defaults, its `--help` and its validation."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from ae_jax.choices import Arch, Devices, Optimizer, Output, Precision, WeightDecayMode
from ae_jax.errors import InputError
from ae_jax.system.schema import conforms, type_name

MAX_STEPS = 2**31 - 1  # steps are counted in 32 bits on the device
_MAX_QUOTED = 100  # characters of a value in a message
GROUPS = ("everyday", "optimizer", "machine and data", "output")  # of `--help`


def setting(default: Any, help: str, group: str | None = None, parse: Callable[[Any], Any] | None = None) -> Any:
    """Declare a dataclass field that becomes a flag.

    Args:
      default: the default value.
      help: the line that `--help` shows.
      group: the group of `--help`, one of `GROUPS`.
      parse: value or text -> value; raises `ValueError` with the rule. Without it, the field's type reads the text.
    """
    return dataclasses.field(default=default, metadata={"help": help, "group": group, "parse": parse})


def argument(help: str) -> Any:
    """Declare a dataclass field that becomes a positional argument, with the line that `--help` shows."""
    return dataclasses.field(metadata={"help": help})


def run_argument() -> Any:
    """Declare the argument that names a trained model, for `load_model`."""
    return argument("run directory (its newest valid checkpoint), a checkpoint, or pretrained:NAME, as pretrained:conv")


def dataset_of_run_setting() -> Any:
    """Declare the setting of the dataset, which by default is the run's own."""
    return shared_setting("dataset", default=None, help="as for train (default: the run's own)", group=None)


class Interval(NamedTuple):
    """A period of training, in epochs or optimizer steps; 0 means never."""

    number: int
    unit: Literal["epochs", "steps"] = "epochs"

    def in_steps(self, steps_per_epoch: int) -> int:
        """The period in optimizer steps."""
        return self.number if self.unit == "steps" else self.number * steps_per_epoch

    def __str__(self) -> str:
        return f"{self.number}{'steps' if self.unit == 'steps' else ''}"


def _parse_interval(value: Interval | str) -> Interval:
    match = re.fullmatch(r"([0-9]{1,18})(steps)?", str(value))
    if not match:
        raise ValueError("a number, or as 200steps")
    return Interval(int(match[1]), "steps" if match[2] else "epochs")


def _parse_devices(value: Devices | str) -> Devices:
    if value == "auto":
        return "auto"
    if not re.fullmatch("0*[1-9][0-9]{0,17}", str(value)):
        raise ValueError("auto or a number, 1 or more")
    return int(value)


@dataclasses.dataclass(frozen=True)
class SharedConfig:
    """The settings that a training run and a sweep have in common; raises `InputError` for an invalid value."""

    arch: Arch = setting("conv", "model; conv-pool uses max pooling", "everyday")
    latent_dim: int | None = setting(None, "latent dimension (default: 3 for linear, 64 for conv)", "everyday")
    output: Output = setting("sigmoid", "output activation; tanh models work in [-1, 1] internally", "everyday")
    noise: float = setting(0.0, "std of Gaussian noise added to training inputs (denoising)", "everyday")
    dataset: str = setting(
        "auto", "auto, mnist, fashion_mnist, kmnist, emnist/letters, glyphs, or a .npy/.npz file", "everyday"
    )
    epochs: int = setting(10, "passes over the training images", "everyday")
    steps_per_epoch: int | None = setting(
        None, "optimizer steps per epoch, at most (default: as many as visit every image)", "everyday"
    )
    batch_size: int = setting(64, "images per optimizer step", "everyday")
    seed: int = setting(0, "seed of the initialisation and the shuffling, 0 to 2^32 - 1", "everyday")
    optimizer: Optimizer = setting("adam", "adam, or muon: orthogonal updates for kernels", "optimizer")
    schedule: Literal["constant", "cosine", "linear"] = setting(
        "constant", "learning-rate schedule: constant, or cosine or linear decay to 0", "optimizer"
    )
    warmup: float = setting(0.0, "fraction of all steps used for linear warm-up", "optimizer")
    beta1: float = setting(0.9, "Adam decay rate of the first moment, Muon momentum", "optimizer")
    beta2: float = setting(0.999, "Adam decay rate of the second moment", "optimizer")
    weight_decay_mode: WeightDecayMode = setting(
        "decoupled", "decoupled as in AdamW, or l2: added to the gradient", "optimizer"
    )
    init: Literal["flax", "torch", "mean"] = setting(
        "flax", "parameter initialisation: flax or PyTorch defaults; mean: flax, output at the mean pixel", "optimizer"
    )
    precision: Precision = setting(
        "float32", "dtype of the arithmetic; parameters and loss stay float32", "machine and data"
    )
    devices: Devices = setting(
        "auto", "devices per host for data parallelism; auto picks the fastest", "machine and data", _parse_devices
    )
    checkpoint_every: Interval = setting(
        Interval(1),
        "epochs between checkpoints, or optimizer steps as 200steps; 0: only the last",
        "output",
        _parse_interval,
    )
    keep: int = setting(3, "newest checkpoints to keep, besides the one with the lowest validation loss", "output")
    run_dir: str | None = setting(None, "run directory (default: runs/<arch>, runs/<arch>-2, …)", "output")
    data_dir: str | None = setting(
        None, "TFDS data directory (default: $TFDS_DATA_DIR or ~/tensorflow_datasets)", "machine and data"
    )
    manual_dir: str | None = setting(
        None, "directory with the dataset's official files (default: $AE_JAX_MANUAL_DIR)", "machine and data"
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if parse := field.metadata["parse"]:
                value = getattr(self, field.name)
                try:
                    object.__setattr__(self, field.name, parse(value))
                except ValueError as error:
                    self._require(field.name, False, str(error))
        for name, hint in get_type_hints(type(self)).items():
            is_choice = get_origin(hint) is Literal
            rule = f"one of {', '.join(get_args(hint))}" if is_choice else f"of type {type_name(hint)}"
            self._require(name, conforms(getattr(self, name), hint), rule)
        self._require("latent_dim", self.latent_dim is None or 1 <= self.latent_dim <= 784, "between 1 and 784")
        self._require("noise", 0 <= self.noise <= 10, "between 0 and 10")
        for name in ("epochs", "steps_per_epoch", "batch_size", "keep"):
            count = getattr(self, name)
            self._require(name, count is None or count >= 1, "at least 1")
            self._require(name, count is None or count <= MAX_STEPS, "below 2^31")
        self._require("seed", 0 <= self.seed < 2**32, "between 0 and 2^32 - 1")
        self._require("warmup", 0 <= self.warmup <= 1, "between 0 and 1")
        for name in ("beta1", "beta2"):
            beta = getattr(self, name)
            self._require(name, beta >= 0 and _float32(beta) < 1, "0 or above and, rounded to float32, below 1")

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON types; constructing the dataclass from them gives an equal one."""
        values = {
            field.name: (field.metadata["parse"], getattr(self, field.name)) for field in dataclasses.fields(self)
        }
        return {name: str(value) if parse else value for name, (parse, value) in values.items()}

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise InputError(
                f"--{name.replace('_', '-')} must be {rule}, not {str(getattr(self, name))[:_MAX_QUOTED]}."
            )


@dataclasses.dataclass(frozen=True)
class TrainConfig(SharedConfig):
    """The settings of one training run; raises `InputError` for an invalid value."""

    learning_rate: float = setting(1e-3, "peak learning rate", "everyday")
    weight_decay: float = setting(1e-5, "weight decay coefficient", "optimizer")
    validation: int = setting(0, "training images to hold out, the last ones, for validation", "machine and data")
    stream: bool = setting(
        False, "stream images in chunks (automatic if they do not fit in device memory)", "machine and data"
    )
    figure_every: int = setting(4, "epochs between reconstruction figures; 0: only after the last", "output")
    tensorboard: bool = setting(False, "write metrics and figures for TensorBoard into tensorboard/", "output")
    distributed: bool = setting(False, "join a distributed job, on a cluster that JAX detects", "machine and data")
    coordinator: str | None = setting(
        None, "HOST:PORT at which process 0 listens (default: from the cluster)", "machine and data"
    )
    num_processes: int | None = setting(
        None, "number of processes in the job (default: from the cluster)", "machine and data"
    )
    process_id: int | None = setting(
        None, "index of this process, from 0 (default: from the cluster)", "machine and data"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("learning_rate", 0 < _float32(self.learning_rate) < math.inf, "a finite number above 0")
        self._require("weight_decay", 0 <= _float32(self.weight_decay) < math.inf, "a finite number, 0 or above")
        self._require("validation", self.validation >= 0, "at least 0")
        self._require("figure_every", self.figure_every >= 0, "at least 0")
        by_hand = (self.coordinator, self.num_processes, self.process_id)
        if by_hand.count(None) not in (0, 3):
            raise InputError("--coordinator, --num-processes and --process-id go together: give all three, or none.")
        if self.coordinator is not None and self.num_processes is not None and self.process_id is not None:
            host, _, port = self.coordinator.rpartition(":")
            is_address = bool(host) and bool(re.fullmatch("[0-9]{1,5}", port)) and 0 < int(port) < 2**16
            self._require("coordinator", is_address, "HOST:PORT")
            self._require("num_processes", self.num_processes >= 1, "at least 1")
            self._require("process_id", 0 <= self.process_id < self.num_processes, "from 0 to below --num-processes")


def shared_setting(name: str, **changes: Any) -> Any:
    """Declare the field of `SharedConfig` called `name` again, with other arguments of `setting`."""
    field = SharedConfig.__dataclass_fields__[name]
    return setting(**{"default": field.default, **field.metadata, **changes})


def fast(arch: Arch = "conv", **settings: Any) -> TrainConfig:
    """The settings that reach the tutorial's test error soonest, measured on MNIST; `settings` override them."""
    return TrainConfig(arch=arch, **_FAST[arch] | settings)


_MUON: dict[str, Any] = {"optimizer": "muon", "schedule": "linear", "beta2": 0.95}
_FAST: dict[str, dict[str, Any]] = {
    "conv": _MUON | {"epochs": 1, "steps_per_epoch": 450, "learning_rate": 2e-2, "init": "mean"},
    "conv-pool": _MUON | {"epochs": 1, "steps_per_epoch": 350, "learning_rate": 2e-2, "init": "mean"},
    "linear": _MUON | {"epochs": 2, "steps_per_epoch": 400, "batch_size": 128, "learning_rate": 3.5e-2, "warmup": 0.1},
}


def _float32(value: float) -> float:
    """Round to float32, as on the device: overflow gives infinity, underflow 0."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))
