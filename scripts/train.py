"""Train an autoencoder: python scripts/train.py --arch conv."""

from ae_jax.cli import parse, run_command
from ae_jax.config import TrainConfig, fast

_RESUME = "continue the run in --run-dir, by default the only one of --arch, from its newest sound checkpoint"


def main() -> None:
    """Read the command line, then train."""
    config, given, switches = parse(
        {"tutorial": TrainConfig, "fast": fast}, "Train an MNIST autoencoder.", switches={"resume": _RESUME}
    )
    from ae_jax.runs.train import resume, train  # here: a command line is read before JAX is imported

    if switches:
        resume(**given)
    else:
        train(config)


if __name__ == "__main__":
    run_command(main)
