"""The commands: each parses its command line and calls the package that does the work.

They are called as `ae-jax COMMAND …`, `python -m ae_jax COMMAND …` and, in a clone, `python scripts/COMMAND.py …`. What
takes time to import is imported when it is needed, so that `--help` and errors in settings do not wait for JAX.
"""

import gc
import inspect
from collections.abc import Callable
from typing import NoReturn

from ae_jax.system.signals import exit_on_signals


def main() -> NoReturn:
    """Run the command that the command line names, as the whole process."""
    run(_chosen_command)


def run(command: Callable[[], object]) -> NoReturn:
    """Run a command as the whole process: one-line errors, exit codes, and signals obeyed from the first moment."""
    exit_on_signals()  # before imports that take time
    gc.set_threshold(50_000)  # JAX keeps what it traces: looking through it again and again takes 0.1 s of a short run
    from ae_jax.cli import run_command

    run_command(command)


def train() -> None:
    """Train an MNIST autoencoder."""
    from ae_jax.cli import parse_training
    from ae_jax.config import TrainConfig, fast

    command = parse_training({"tutorial": TrainConfig, "fast": fast}, _summary(train))
    from ae_jax.runs import train as runs

    if command.resume:
        runs.resume(**command.given)
    else:
        runs.train(command.config)


def sweep() -> None:
    """Train seeds × learning rates × weight decays as one program."""
    from ae_jax.cli import parse_training
    from ae_jax.sweep.config import SweepConfig

    command = parse_training({"sweep": SweepConfig}, _summary(sweep))
    from ae_jax.sweep import train as sweeps

    if command.resume:
        sweeps.resume(**command.given)
    else:
        sweeps.train(command.config)


def evaluate() -> None:
    """Evaluate the reconstructions and latent codes of a model on all test images."""
    from ae_jax.cli import parse
    from ae_jax.inspection.config import EvaluateConfig

    config = parse(EvaluateConfig, _summary(evaluate))
    from ae_jax.inspection.evaluate import evaluate_run

    evaluate_run(config)


def visualize() -> None:
    """Draw the latent space of a model: codes, interpolations, traversals and grid."""
    from ae_jax.cli import parse
    from ae_jax.inspection.config import VisualizeConfig

    config = parse(VisualizeConfig, _summary(visualize))
    from ae_jax.inspection.visualize import visualize_run

    visualize_run(config)


def explore() -> None:
    """Write an interactive page of a model: draw a digit, see its code, walk through the latent space."""
    from ae_jax.cli import parse
    from ae_jax.explorer.config import ExploreConfig

    config = parse(ExploreConfig, _summary(explore))
    from ae_jax.explorer.explore import explore_run

    explore_run(config)


def reconstruct() -> None:
    """Encode and decode your own images with a trained model."""
    from ae_jax.cli import parse
    from ae_jax.inspection.config import ReconstructConfig

    config = parse(ReconstructConfig, _summary(reconstruct))
    from ae_jax.inspection.reconstruct import reconstruct_images

    reconstruct_images(config)


def convert() -> None:
    """Convert a trained model to a PyTorch state dict, or a state dict to a run."""
    from ae_jax.cli import parse
    from ae_jax.exchange.config import ConvertConfig

    config = parse(ConvertConfig, _summary(convert))
    from ae_jax.exchange.convert import convert as convert_weights

    convert_weights(config)


def export() -> None:
    """Export a trained model as StableHLO programs that run without ae_jax."""
    from ae_jax.cli import parse
    from ae_jax.exchange.config import ExportConfig

    config = parse(ExportConfig, _summary(export))
    from ae_jax.exchange.export import export_run

    export_run(config)


def share() -> None:
    """Make a folder to publish a model: model card, weights, ONNX graphs, figures and explorer."""
    from ae_jax.cli import parse
    from ae_jax.exchange.config import ShareConfig

    config = parse(ShareConfig, _summary(share))
    from ae_jax.exchange.share import share_run

    share_run(config)


def _chosen_command() -> None:
    from ae_jax.cli import choose_command

    choices = (train, sweep, evaluate, visualize, explore, reconstruct, convert, export, share)
    commands = {each.__name__: each for each in choices}
    name = choose_command({name: _summary(command) for name, command in commands.items()})
    commands[name]()


def _summary(command: Callable[[], None]) -> str:
    return inspect.getdoc(command) or ""
