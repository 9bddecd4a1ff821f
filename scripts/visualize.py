"""Draw the latent space of a run: python scripts/visualize.py runs/conv."""

from ae_jax.commands import run, visualize

if __name__ == "__main__":
    run(visualize)
