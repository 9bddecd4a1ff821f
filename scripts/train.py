"""Train an autoencoder: python scripts/train.py --arch conv."""

from ae_jax import run
from ae_jax.cli import parse, run_command
from ae_jax.config import TrainConfig, fast

if __name__ == "__main__":
    run_command(lambda: run.train(parse({"tutorial": TrainConfig, "fast": fast}, "Train an MNIST autoencoder.")))
