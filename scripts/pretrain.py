"""Train the models that come with the package: python scripts/pretrain.py ae_jax/models/pretrained."""

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ae_jax.exchange.torch import weights_bytes
from ae_jax.runs.trained import PRETRAINED, load_model
from ae_jax.system import write_output

_COMMON = (
    "--dataset mnist --seed 0 --optimizer muon --beta1 0.95 --batch-size 128 --learning-rate 0.01"
    " --schedule linear --warmup 0.1 --weight-decay 0.03"
)
_RECIPES = {
    "linear": "--arch linear --epochs 150 --devices 1",
    "conv": "--arch conv --epochs 100 --devices 2",
    "conv-pool": "--arch conv-pool --epochs 30 --devices 2",
}


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line, by default that of the process, to `out` and `model`."""
    parser = argparse.ArgumentParser(description="Train the models that come with the package, on MNIST.")
    parser.add_argument("out", type=Path, help="directory for the weights files; existing ones are replaced")
    parser.add_argument("--model", choices=("all", *PRETRAINED), default="all", help="(default: all)")
    return parser.parse_args(args)


def main() -> None:
    """Train the models and write their weights files."""
    args = parse_args()
    for name in PRETRAINED if args.model == "all" else (args.model,):
        content = _train(f"train {_RECIPES[name]} {_COMMON}")
        write_output(args.out / f"{name}.safetensors", content, replace=True)


def _train(command: str) -> bytes:
    """Train a run in a temporary directory; return the content of its weights file."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        output = ["--run-dir", str(run_dir), "--checkpoint-every", "0", "--figure-every", "0"]
        subprocess.run([sys.executable, "-m", "ae_jax", *shlex.split(command), *output], check=True)
        return weights_bytes(load_model(run_dir), command=f"ae-jax {command}")


if __name__ == "__main__":
    main()
