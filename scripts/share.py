"""Make a folder to publish a model: python scripts/share.py runs/conv shared."""

from ae_jax.commands import run, share

if __name__ == "__main__":
    run(share)
