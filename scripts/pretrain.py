"""Train the models that come with the package: python scripts/pretrain.py ae_jax/models/pretrained."""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

import dataclasses
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ae_jax.cli import parse, run_command
from ae_jax.config import argument, setting
from ae_jax.models import pretrained
from ae_jax.system.outputs import make_output_dir, replace_output

if TYPE_CHECKING:
    from ae_jax.runs.weights_file import Weights

_COMMON = (
    "--dataset mnist --seed 0 --optimizer muon --beta1 0.95 --batch-size 128 --learning-rate 0.01"
    " --schedule linear --warmup 0.1 --weight-decay 0.03"
)
_RECIPES = {
    "linear": "--arch linear --epochs 150 --devices 1",
    "conv": "--arch conv --epochs 100 --devices 2",
    "conv-pool": "--arch conv-pool --epochs 30 --devices 2",
}


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """The settings of a training of the pretrained models."""

    out: str = argument("directory for the weights files; existing ones are replaced")
    model: Literal["all", "linear", "conv", "conv-pool"] = setting("all", "the model to train")


def main() -> None:
    """Train the models and write their weights files."""
    config = parse(PretrainConfig, "Train the models that come with the package, on MNIST.")
    from ae_jax.runs.weights_file import weights_bytes  # here, so that --help and errors do not wait for JAX

    out = Path(config.out)
    make_output_dir(out)
    for name in pretrained.NAMES if config.model == "all" else (config.model,):
        weights = _train(f"train {_RECIPES[name]} {_COMMON}")
        replace_output(out / f"{name}.safetensors", weights_bytes(weights))


def _train(command: str) -> "Weights":
    """Train a run in a temporary directory."""
    from ae_jax.runs.load import load_model
    from ae_jax.runs.weights_file import portable_weights

    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        output = ["--run-dir", str(run_dir), "--checkpoint-every", "0", "--figure-every", "0"]
        subprocess.run([sys.executable, "-m", "ae_jax", *shlex.split(command), *output], check=True)
        weights = portable_weights(load_model(run_dir))
    return weights._replace(metadata={**weights.metadata, "command": f"ae-jax {command}"})


if __name__ == "__main__":
    run_command(main)
