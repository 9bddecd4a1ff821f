"""Write an interactive page of a model: python scripts/explore.py pretrained:conv."""

from ae_jax.commands import explore, run

if __name__ == "__main__":
    run(explore)
