"""Train an autoencoder: python scripts/train.py --arch conv."""

from ae_jax.commands import run, train

if __name__ == "__main__":
    run(train)
