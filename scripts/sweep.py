"""Train a sweep over seeds and hyperparameters: python scripts/sweep.py --seeds 8 --learning-rate 1e-3 3e-3 1e-2."""

from ae_jax.commands import run, sweep

if __name__ == "__main__":
    run(sweep)
