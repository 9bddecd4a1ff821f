"""Reports of a run: terminal lines, `metrics.jsonl`, figures, TensorBoard events, the comparison with PCA."""

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ae_jax.config import TrainConfig
from ae_jax.data.batching import to_float
from ae_jax.data.datasets import Dataset
from ae_jax.errors import InputError
from ae_jax.metrics.pca import pca_mse
from ae_jax.parallel.mesh import is_process_0
from ae_jax.parallel.steps import Program, local_copy
from ae_jax.runs.run_dir import EpochMetrics, History, Run
from ae_jax.runs.setup import Splits, run_model
from ae_jax.training.loop import reconstruct
from ae_jax.training.losses import with_fixed_noise
from ae_jax.training.state import TrainState

_NUM_FIGURE_IMAGES = 9
_SMALLEST_MSE = 1e-12  # below the rounding of a float32 loss


def progress_bar(config: TrainConfig, program: Program, history: History) -> tqdm:
    """A bar of the run's images, which process 0 shows if it has a terminal."""
    total, done = (epochs * int(program.sizes.sum()) for epochs in (config.epochs, len(history)))
    disable = None if is_process_0() else True
    return tqdm(total=total, initial=done, unit=" images", unit_scale=True, disable=disable, leave=False)


def check_tensorboard(config: TrainConfig) -> None:
    """Raise `InputError` if TensorBoard events are asked for and tensorboardX is not installed."""
    if config.tensorboard and not importlib.util.find_spec("tensorboardX"):
        raise InputError('`tensorboard` needs a package that is not installed: pip install "ae_jax[tensorboard]".')


@contextlib.contextmanager
def reporter(run: Run, test_set: Dataset, history: History) -> Iterator[Callable[[TrainState, History], None]]:
    """Yield a function that reports a finished epoch, before its checkpoint is saved.

    Events of TensorBoard for steps after those of `history`, with which a run resumes, are void.
    """
    with contextlib.ExitStack() as stack:
        events: dict[str, Any] = {}  # a writer for the curves of each split, which TensorBoard shows in one chart
        if run.config.tensorboard and is_process_0():
            from tensorboardX import SummaryWriter

            step = history[-1].step if history else 0
            options = {"purge_step": step + 1, "filename_suffix": f".{step}"}  # the name has only its start's second
            for split in ("train", *["validation"] * bool(run.config.validation), "test"):
                events[split] = stack.enter_context(SummaryWriter(str(run.path / "tensorboard" / split), **options))

        def report(state: TrainState, history: History) -> None:
            last, every = history[-1], run.config.figure_every
            losses = "   ".join(f"{name} {loss:.5f}" for name, loss in _losses(last).items())
            speed = f"{last.seconds:.1f} s   {last.images_per_second:,.0f} images/s"
            tqdm.write(f"epoch {last.epoch:3d}   {losses}   {speed}")
            run.write_metrics(history)
            is_due = last.epoch == run.config.epochs or (every and last.epoch % every == 0)
            figure = save_reconstructions(run, test_set, state, history) if is_due else None
            if events:
                _write_events(events, run.config, last, figure)

        yield report


def conclude(run: Run, data: Splits, history: History) -> None:
    """Save the loss curves and print the final test error, both in comparison with PCA."""
    if not is_process_0():
        return
    from ae_jax.figures import figure_bytes, loss_figure  # here: importing matplotlib takes a second

    latent_dim = run_model(run.config).latent_dim
    pca, test_mse = pca_mse(data.train.images, data.test.images, latent_dim), history[-1].test_loss
    pca_name = f"PCA with {latent_dim} components"
    names = {name: name for name in _losses(history[-1])}
    if run.config.noise:
        names |= {name: f"{name}, of noisy images" for name in names if name.startswith("train")}
    curves = {shown: [_losses(metrics)[name] for metrics in history] for name, shown in names.items()}
    figure = loss_figure(curves, baseline=pca, baseline_name=f"{pca_name}, test images", title=run.title)
    run.write("figures/loss.png", figure_bytes(figure, ".png"))
    print(f"{run.title}: test MSE {test_mse:.5f}, {_comparison(test_mse, pca, pca_name)}.")
    print(f"Files: {run.path}, and what to do next: `ae-jax explore {run.path}`")


def save_reconstructions(run: Run, test_set: Dataset, state: TrainState, history: History) -> bytes:
    """Save a figure of test images and their reconstructions after an epoch; return it as PNG."""
    from ae_jax.figures import figure_bytes, reconstruction_figure

    images = test_set.images[:_NUM_FIGURE_IMAGES]
    noisy = np.asarray(with_fixed_noise(images, run.config.noise)) if run.config.noise else None
    recons = np.asarray(reconstruct(local_copy(state), images if noisy is None else noisy))
    of_clean = " of clean images" * bool(run.config.noise)
    caption = f"{run.title}, epoch {len(history)}, test MSE{of_clean} {history[-1].test_loss:.5f}"
    figure = reconstruction_figure(np.asarray(to_float(images)), recons, caption, noisy=noisy)
    png = figure_bytes(figure, ".png")
    run.write(f"figures/reconstructions_epoch_{len(history):04d}.png", png)
    return png


def _write_events(events: dict[str, Any], config: TrainConfig, metrics: EpochMetrics, figure: bytes | None) -> None:
    for name, loss in _losses(metrics).items():
        split, quantity = name.split(" ")
        events[split].add_scalar(quantity, loss, metrics.step)
    events["train"].add_scalar("images_per_second", metrics.images_per_second, metrics.step)
    if figure:
        pixels = np.asarray(Image.open(io.BytesIO(figure)).convert("RGB"))
        events["test"].add_image("reconstructions", pixels, metrics.step, dataformats="HWC")
    if metrics.epoch == config.epochs:
        settings = {name: str(value) for name, value in vars(config).items()}
        events["test"].add_hparams(settings, {"final_MSE": metrics.test_loss}, "settings", metrics.step)
    for each in events.values():
        each.flush()  # before the checkpoint, as the process may be killed


def _losses(metrics: EpochMetrics) -> dict[str, float]:
    """The losses of an epoch by name; their unit is part of it where there are two."""
    trained_on, error = ("loss", "loss") if metrics.test_cross_entropy is None else ("cross-entropy", "MSE")
    losses = {
        f"train {trained_on}": metrics.train_loss,
        f"validation {error}": metrics.validation_loss,
        f"test {error}": metrics.test_loss,
    }
    if metrics.test_cross_entropy is not None:
        losses["validation cross-entropy"] = metrics.validation_cross_entropy
        losses["test cross-entropy"] = metrics.test_cross_entropy
    return {name: loss for name, loss in losses.items() if loss is not None}


def _comparison(test_mse: float, pca: float, pca_name: str) -> str:
    if pca < _SMALLEST_MSE:
        return f"while {pca_name} is exact on these images"
    ratio = max(pca, test_mse) / max(min(pca, test_mse), _SMALLEST_MSE)
    return f"{ratio:.2f} times {'better' if test_mse <= pca else 'worse'} than {pca_name} ({pca:.5f})"


def align_table(rows: Sequence[Sequence[str]]) -> str:
    """Format rows, the first being the header, as a Markdown table: first column left-aligned, others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))
