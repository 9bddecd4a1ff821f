"""Convert weights to PyTorch and back: python scripts/convert.py to-torch runs/conv conv.safetensors."""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

from ae_jax.cli import parse, run_command
from ae_jax.exchange.config import ConvertConfig


def main() -> None:
    """Parse the command line, then convert."""
    config = parse(ConvertConfig, "Convert a trained model to a PyTorch state dict, or a state dict to a run.")
    from ae_jax.exchange.convert import convert  # here, so that --help and errors do not wait for JAX

    convert(config)


if __name__ == "__main__":
    run_command(main)
