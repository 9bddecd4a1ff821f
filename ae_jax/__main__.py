"""`python -m ae_jax COMMAND …`."""

from ae_jax.commands import main

if __name__ == "__main__":
    main()
