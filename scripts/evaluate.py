"""Evaluate the reconstructions and latent codes of a run: python scripts/evaluate.py runs/conv."""

from ae_jax.commands import evaluate, run

if __name__ == "__main__":
    run(evaluate)
