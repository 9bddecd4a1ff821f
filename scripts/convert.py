"""Carry weights to PyTorch and back: python scripts/convert.py to-torch runs/conv conv.safetensors."""

from ae_jax.cli import parse, run_command
from ae_jax.exchange.config import ConvertConfig


def main() -> None:
    """Read the command line, then convert."""
    config, _, _ = parse({"": ConvertConfig}, "Carry a trained model's weights to PyTorch, or PyTorch's here.")
    from ae_jax.exchange.convert import convert  # here: a command line is read before JAX is imported

    convert(config)


if __name__ == "__main__":
    run_command(main)
