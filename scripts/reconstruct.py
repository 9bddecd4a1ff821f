"""Encode and decode your own images: python scripts/reconstruct.py runs/conv digits.npy --out digits.png."""

from ae_jax.commands import reconstruct, run

if __name__ == "__main__":
    run(reconstruct)
