"""Train an autoencoder: python scripts/train.py --arch conv."""

import sys

from ae_jax.commands import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
