"""Train many seeds and settings at once: python scripts/sweep.py --seeds 8 --learning-rate 1e-3 3e-3 1e-2."""

from ae_jax.cli import parse, run_command
from ae_jax.sweep.config import SweepConfig

_RESUME = "continue the sweep in --run-dir, by default the only one of --arch, from its newest sound checkpoint"


def main() -> None:
    """Read the command line, then train."""
    config, given, switches = parse(
        {"sweep": SweepConfig},
        "Train every seed with every learning rate and weight decay, as one program.",
        switches={"resume": _RESUME},
    )
    from ae_jax.sweep.train import resume, train  # here: a command line is read before JAX is imported

    if switches:
        resume(**given)
    else:
        train(config)


if __name__ == "__main__":
    run_command(main)
