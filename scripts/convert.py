"""Convert weights to PyTorch and back: python scripts/convert.py to-torch runs/conv conv.safetensors."""

from ae_jax.commands import convert, run

if __name__ == "__main__":
    run(convert)
