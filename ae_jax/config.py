"""Every setting of a training run: its default, its meaning, and what it may be."""

import dataclasses
import math
import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from ae_jax.choices import Arch, Output, Precision, WeightDecayMode
from ae_jax.errors import InputError

_EVERY = re.compile(r"([0-9]{1,18})(steps)?")


def setting(default: Any, help: str) -> Any:
    """A dataclass field, with the line that `--help` shows for it."""
    return dataclasses.field(default=default, metadata={"help": help})


def argument(help: str) -> Any:
    """A dataclass field that a command line gives by its place, with the line that `--help` shows for it."""
    return dataclasses.field(metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The settings of one training run; `InputError` for a value that none can have."""

    arch: Arch = setting("conv", "the model; conv-pool: with max pooling")
    latent_dim: int | None = setting(None, "numbers in a code; default the model's own, 3 for linear and 64 for conv")
    output: Output = setting("sigmoid", "the decoder's last step; tanh: it works in [-1, 1] inside")
    noise: float = setting(0.0, "standard deviation of noise on what it sees while it learns, for denoising")
    dataset: str = setting("auto", "auto, mnist, fashion_mnist, kmnist, emnist/letters, glyphs, or a .npy/.npz file")
    epochs: int = setting(10, "passes over the training images")
    batch_size: int = setting(64, "images a training step")
    learning_rate: float = setting(1e-3, "Adam's step size, at its highest")
    schedule: Literal["constant", "cosine"] = setting("constant", "the learning rate's: as it is, or down to 0")
    warmup: float = setting(0.0, "share of all steps, 0 to 1, in which the learning rate rises from 0 first")
    beta1: float = setting(0.9, "share of the gradients' running mean that a step of Adam keeps")
    beta2: float = setting(0.999, "the same for the squared gradients'")
    weight_decay: float = setting(1e-5, "rate at which the parameters shrink, per step and learning rate")
    weight_decay_mode: WeightDecayMode = setting("decoupled", "as in AdamW, or l2: added to the gradient")
    init: Literal["flax", "torch"] = setting("flax", "whose default distribution the parameters are drawn from")
    precision: Precision = setting("float32", "of the arithmetic; parameters and loss are float32 with either")
    devices: str = setting("auto", "how many CPU cores, GPUs or TPU cores share each batch; auto: as is fastest")
    stream: bool = setting(False, "feed the images chunk by chunk; by itself only where they do not fit the device")
    seed: int = setting(0, "of the parameters and the shuffling, 0 to 2^32 - 1")
    figure_every: int = setting(4, "epochs between pictures of reconstructions; 0: only the last")
    checkpoint_every: str = setting("1", "epochs between checkpoints or, as 200steps, steps; 0: only the last")
    keep: int = setting(3, "newest checkpoints that are kept, beside the one with the lowest test loss")
    tensorboard: bool = setting(False, "write losses and pictures for TensorBoard too, into the run's tensorboard/")
    run_dir: str | None = setting(None, "where the run is written; default runs/<arch>, runs/<arch>-2, …")
    data_dir: str | None = setting(None, "TFDS's data dir; default $TFDS_DATA_DIR or ~/tensorflow_datasets")
    manual_dir: str | None = setting(None, "holds the dataset's official files; default $AE_JAX_MANUAL_DIR")
    distributed: bool = setting(False, "one of several processes, on a cluster that JAX knows or as said below")
    coordinator: str | None = setting(None, "HOST:PORT at which process 0 listens; default the cluster's")
    num_processes: int | None = setting(None, "how many processes there are; default the cluster's")
    process_id: int | None = setting(None, "which of them this is, from 0; default the cluster's")

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal:
                self._require(name, getattr(self, name) in get_args(hint), f"one of {', '.join(get_args(hint))}")
        self._require("latent_dim", self.latent_dim is None or 1 <= self.latent_dim <= 784, "between 1 and 784")
        self._require("noise", 0 <= self.noise <= 10, "between 0 and 10")
        self._require("epochs", self.epochs >= 1, "at least 1")
        self._require("batch_size", self.batch_size >= 1, "at least 1")
        self._require("figure_every", self.figure_every >= 0, "at least 0")
        self._require("checkpoint_every", bool(_EVERY.fullmatch(self.checkpoint_every)), "a number, or as 200steps")
        self._require("keep", self.keep >= 1, "at least 1")
        self._require("seed", 0 <= self.seed < 2**32, "between 0 and 2^32 - 1")
        self._require("learning_rate", 0 < _float32(self.learning_rate) < math.inf, "a finite number above 0")
        for name in ("beta1", "beta2"):
            beta = getattr(self, name)
            self._require(name, beta >= 0 and _float32(beta) < 1, "0 or above and, rounded to float32, below 1")
        self._require("warmup", 0 <= self.warmup <= 1, "between 0 and 1")
        self._require("devices", self.devices == "auto" or _is_count(self.devices), "auto or a number, 1 or more")
        self._require("weight_decay", 0 <= _float32(self.weight_decay) < math.inf, "a finite number, 0 or above")
        self._check_processes()

    @property
    def num_devices(self) -> int | None:
        """`devices`, or None for auto."""
        return None if self.devices == "auto" else int(self.devices)

    def checkpoint_steps(self, steps_per_epoch: int) -> int:
        """The optimizer steps between two checkpoints, 0 for none."""
        number, steps = _EVERY.fullmatch(self.checkpoint_every).groups()  # type: ignore[union-attr]  # it was checked
        return int(number) * (1 if steps else steps_per_epoch)

    def _check_processes(self) -> None:
        by_hand = (self.coordinator, self.num_processes, self.process_id)
        if by_hand.count(None) not in (0, 3):
            raise InputError("--coordinator, --num-processes and --process-id go together: give all three, or none.")
        if self.coordinator is not None and self.num_processes is not None and self.process_id is not None:
            host, _, port = self.coordinator.rpartition(":")
            is_address = bool(host) and bool(re.fullmatch("[0-9]{1,5}", port)) and 0 < int(port) < 2**16
            self._require("coordinator", is_address, "HOST:PORT")
            self._require("num_processes", self.num_processes >= 1, "at least 1")
            self._require("process_id", 0 <= self.process_id < self.num_processes, "from 0 to below --num-processes")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise InputError(f"--{name.replace('_', '-')} must be {rule}, not {getattr(self, name)}.")


def fast(arch: Arch = "conv", **settings: Any) -> TrainConfig:
    """The settings that reach a given test error soonest, found by measurement on MNIST; `settings` go before them."""
    return TrainConfig(arch=arch, **_FAST[arch] | settings)


_FASTEST: dict[str, Any] = {"schedule": "cosine", "warmup": 0.25, "beta2": 0.95}
_FAST: dict[str, dict[str, Any]] = {
    "conv": _FASTEST | {"epochs": 1, "batch_size": 20, "learning_rate": 1e-2, "beta1": 0.8},
    "conv-pool": _FASTEST | {"epochs": 1, "batch_size": 20, "learning_rate": 1e-2, "beta1": 0.8},
    "linear": _FASTEST | {"epochs": 3, "batch_size": 160, "learning_rate": 2e-2, "beta1": 0.85},
}


def _is_count(text: str) -> bool:
    return bool(re.fullmatch("0*[1-9][0-9]{0,17}", text))


def _float32(value: float) -> float:
    """What `value` becomes on the device: too large a number is infinite there, too small a one is zero."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))
