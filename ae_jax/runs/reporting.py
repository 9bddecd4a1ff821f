"""Reports of a run: terminal lines, `metrics.jsonl`, figures, TensorBoard events, the comparison with PCA."""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from ae_jax.config import TrainConfig
from ae_jax.data.batching import normalise_on_host
from ae_jax.errors import InputError
from ae_jax.metrics.pca import pca_mse
from ae_jax.parallel.sharding import local_copy
from ae_jax.runs.progress import EpochMetrics, Progress
from ae_jax.runs.run import Run
from ae_jax.runs.run_dir import append_metrics, save_figure
from ae_jax.runs.setup import run_model
from ae_jax.training.losses import with_fixed_noise
from ae_jax.training.steps import reconstruct

_NUM_FIGURE_IMAGES = 9
_SMALLEST_MSE = 1e-12  # below the rounding of a float32 loss


@contextlib.contextmanager
def reporter(run: Run[TrainConfig], step: int) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that reports a finished epoch of a run that starts or resumes after `step`.

    It writes metrics, events and, if due, the reconstruction figure, all before the epoch's checkpoint is saved.
    """
    check_tensorboard(run.config)
    if not run.config.tensorboard:
        yield lambda progress: _report(run, progress)
        return
    from ae_jax.runs.tensorboard import event_file

    with event_file(run.run_dir / "tensorboard", step) as write:
        yield lambda progress: _report(run, progress, write)


def check_tensorboard(config: TrainConfig) -> None:
    """Raise `InputError` if `--tensorboard` is set and tensorboardX is not installed."""
    if config.tensorboard and not importlib.util.find_spec("tensorboardX"):
        raise InputError('--tensorboard needs a package that is not installed: pip install "ae_jax[tensorboard]".')


def conclude(run: Run[TrainConfig], history: tuple[EpochMetrics, ...]) -> None:
    """Save the loss curves and print the final test error, both in comparison with PCA."""
    from ae_jax.figures import figure_bytes, loss_figure  # here: importing matplotlib takes a second

    latent_dim = run_model(run.config).latent_dim
    pca = pca_mse(run.train_set.images, run.test_set.images, latent_dim)
    pca_name = f"PCA with {latent_dim} components"
    losses = {
        "training loss (epoch mean)": [metrics.train_loss for metrics in history],
        "validation loss": [metrics.validation_loss for metrics in history if metrics.validation_loss is not None],
        "test loss": [metrics.test_loss for metrics in history],
    }
    curves = {name: values for name, values in losses.items() if values}
    figure = loss_figure(curves, baseline=pca, baseline_name=f"{pca_name}, test images", title=run.title)
    save_figure(run.run_dir, "loss", figure_bytes(figure, ".png"))
    result = f"test MSE {history[-1].test_loss:.5f}, {_comparison(history[-1].test_loss, pca, pca_name)}"
    print(f"{run.title}: {result}. Everything is in {run.run_dir}")


def _comparison(test_mse: float, pca: float, pca_name: str) -> str:
    if pca < _SMALLEST_MSE:
        return f"while {pca_name} is exact on these images"
    ratio = max(pca, test_mse) / max(min(pca, test_mse), _SMALLEST_MSE)
    return f"{ratio:.2f} times {'better' if test_mse <= pca else 'worse'} than {pca_name} ({pca:.5f})"


def _report(run: Run[TrainConfig], progress: Progress, write: Callable[..., None] | None = None) -> None:
    metrics = progress.history[-1]
    losses = "   ".join(f"{name} loss {loss:.5f}" for name, loss in _losses(metrics).items())
    speed = f"{metrics.seconds:.1f} s   {metrics.images_per_second:,.0f} images/s"
    tqdm.write(f"epoch {metrics.epoch:3d}   {losses}   {speed}")
    append_metrics(run.run_dir, metrics)
    figures, every = {}, run.config.figure_every
    if metrics.epoch == run.config.epochs or (every and metrics.epoch % every == 0):
        figures["reconstructions"] = save_reconstructions(run, progress)
    if write:
        scalars = {f"loss/{name}": loss for name, loss in _losses(metrics).items()}
        write(metrics.step, {**scalars, "images_per_second": metrics.images_per_second}, figures)


def _losses(metrics: EpochMetrics) -> dict[str, float]:
    losses = {"train": metrics.train_loss, "validation": metrics.validation_loss, "test": metrics.test_loss}
    return {name: loss for name, loss in losses.items() if loss is not None}


def save_reconstructions(run: Run[TrainConfig], progress: Progress) -> bytes:
    """Save a figure of test images and their reconstructions after an epoch; return it as PNG."""
    from ae_jax.figures import figure_bytes, reconstruction_figure

    images = run.test_set.images[:_NUM_FIGURE_IMAGES]
    noisy = with_fixed_noise(images, run.config.noise) if run.config.noise else None
    recons = np.asarray(reconstruct(local_copy(progress.state), images if noisy is None else noisy))
    caption = f"{run.title}, epoch {len(progress.history)}, test MSE {progress.history[-1].test_loss:.5f}"
    figure = reconstruction_figure(normalise_on_host(images), recons, caption, noisy=noisy)
    png = figure_bytes(figure, ".png")
    save_figure(run.run_dir, f"reconstructions_epoch_{len(progress.history):04d}", png)
    return png
