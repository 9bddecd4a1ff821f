"""Export a model to run without this package: python scripts/export.py runs/conv exported.

python -c "import jax, numpy as np; from jax import export
print(export.deserialize(open('exported/encode.stablehlo', 'rb').read()).call(np.zeros((5, 28, 28, 1), 'float32')))"
"""

from ae_jax.system.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before imports that take time

from ae_jax.cli import parse, run_command
from ae_jax.exchange.config import ExportConfig


def main() -> None:
    """Parse the command line, then export."""
    config = parse(ExportConfig, "Export a trained model as StableHLO programs that run without ae_jax.")
    from ae_jax.exchange.export import export_run  # here, so that --help and errors do not wait for JAX

    export_run(config)


if __name__ == "__main__":
    run_command(main)
