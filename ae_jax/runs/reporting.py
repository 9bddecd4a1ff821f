"""What a run tells of itself: lines on the terminal and in files, pictures, events for TensorBoard."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from ae_jax.config import TrainConfig
from ae_jax.data.batching import normalise_on_host
from ae_jax.metrics.pca import pca_mse
from ae_jax.parallel.sharding import local_copy
from ae_jax.runs.progress import EpochMetrics, Progress
from ae_jax.runs.run import Run
from ae_jax.runs.run_dir import append_metrics, save_picture
from ae_jax.runs.setup import run_model
from ae_jax.training.losses import with_fixed_noise
from ae_jax.training.steps import reconstruct

_NUM_PICTURED = 9


@contextlib.contextmanager
def reporter(run: Run[TrainConfig], step: int) -> Iterator[Callable[[Progress], None]]:
    """What reports an epoch of a run that goes on after `step`, when the epoch has ended.

    Its line, its events and, where it is due, its picture: all of it is there before the epoch's checkpoint is.
    """
    if not run.config.tensorboard:
        yield lambda progress: _report(run, progress)
        return
    from ae_jax.runs.tensorboard import event_file

    with event_file(run.run_dir / "tensorboard", step) as write:
        yield lambda progress: _report(run, progress, write)


def conclude(run: Run[TrainConfig], history: tuple[EpochMetrics, ...]) -> None:
    """Compare with PCA: a curve, and the last line on the terminal."""
    from ae_jax.figures import figure_bytes, loss_figure  # here: matplotlib takes a second to import

    latent_dim = run_model(run.config).latent_dim
    pca = pca_mse(run.train_set.images, run.test_set.images, latent_dim)
    pca_name = f"PCA with {latent_dim} components"
    train_losses = [metrics.train_loss for metrics in history]
    test_losses = [metrics.test_loss for metrics in history]
    name = f"{pca_name}, test images"
    figure = loss_figure(train_losses, test_losses, baseline=pca, baseline_name=name, title=run.title)
    save_picture(run.run_dir, "loss", figure_bytes(figure, ".png"))
    test_mse = test_losses[-1]
    comparison = f"{pca / test_mse:.2f} times better" if test_mse <= pca else f"{test_mse / pca:.2f} times worse"
    than = f"{comparison} than {pca_name} ({pca:.5f})"
    print(f"{run.title}: test MSE {test_mse:.5f}, {than}. Everything is in {run.run_dir}")


def _line(metrics: EpochMetrics) -> str:
    return (
        f"epoch {metrics.epoch:3d}   train loss {metrics.train_loss:.5f}   test loss {metrics.test_loss:.5f}   "
        f"{metrics.seconds:.1f} s   {metrics.images_per_second:,.0f} images/s"
    )


def _report(run: Run[TrainConfig], progress: Progress, write: Callable[..., None] | None = None) -> None:
    metrics = progress.history[-1]
    tqdm.write(_line(metrics))
    append_metrics(run.run_dir, metrics)
    pictures = {}
    every = run.config.figure_every
    if metrics.epoch == run.config.epochs or (every and metrics.epoch % every == 0):
        pictures["reconstructions"] = picture_reconstructions(run, progress)
    if write:
        scalars = {"loss/train": metrics.train_loss, "loss/test": metrics.test_loss}
        write(metrics.step, {**scalars, "images_per_second": metrics.images_per_second}, pictures)


def picture_reconstructions(run: Run[TrainConfig], progress: Progress) -> bytes:
    """Save a picture of what the model makes of some test images after an epoch, and give it, as PNG."""
    from ae_jax.figures import figure_bytes, reconstruction_figure

    images = run.test_set.images[:_NUM_PICTURED]
    noisy = with_fixed_noise(images, run.config.noise) if run.config.noise else None
    state = local_copy(progress.state)
    recons = np.asarray(reconstruct(state, images if noisy is None else noisy))
    caption = f"{run.title}, epoch {len(progress.history)}, test MSE {progress.history[-1].test_loss:.5f}"
    figure = reconstruction_figure(normalise_on_host(images), recons, caption, noisy=noisy)
    png = figure_bytes(figure, ".png")
    save_picture(run.run_dir, f"reconstructions_epoch_{len(progress.history):04d}", png)
    return png
