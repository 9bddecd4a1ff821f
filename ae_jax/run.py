"""One training run: the only place where data, steps, files and the terminal meet."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ae_jax.checkpoint import save_checkpoint
from ae_jax.config import TrainConfig
from ae_jax.data import Dataset, find_dataset, load_dataset
from ae_jax.errors import RunError
from ae_jax.parallel import make_evaluate, replicate
from ae_jax.pca import pca_mse
from ae_jax.program import Program, make_program
from ae_jax.run_dir import EpochMetrics, append_metrics, checkpoint_path, create_run_dir, refuse_taken, save_figure
from ae_jax.state import TrainState
from ae_jax.train import reconstruct
from ae_jax.types import HostImages

_LOOK_SECONDS = 0.5  # between two looks at the loss; Ctrl-C waits no longer
_NUM_PICTURED = 9
_EVALUATION_BATCH = 64


def train(config: TrainConfig) -> Path:
    """Train as `config` says, write a run directory, report on the terminal; returns the directory.

    Raises:
      InputError: the data cannot be had, or the run directory is taken or cannot be written.
      RunError: the loss stopped being finite.
    """
    if config.run_dir:
        refuse_taken(Path(config.run_dir))
    train_set, test_set = _load(config)
    program, start = make_program(config, train_set.images)
    run_dir = create_run_dir(config, train_set.name, program.mesh.devices.flat)
    title = f"{config.arch} on {_describe(train_set.name)}"
    print(f"Training {title}: {len(train_set.images):,} images, {len(test_set.images):,} for testing, into {run_dir}")

    history = []
    for state, metrics in _epochs(program, start, test_set.images, config.epochs):
        history.append(metrics)
        tqdm.write(_line(metrics))
        append_metrics(run_dir, metrics)
        if metrics.epoch == config.epochs or (config.figure_every and metrics.epoch % config.figure_every == 0):
            _picture(run_dir, state, test_set.images[:_NUM_PICTURED], metrics, title)

    save_checkpoint(checkpoint_path(run_dir, metrics.step), state)
    _conclude(run_dir, history, train_set, test_set, state.model.latent_dim, title)
    return run_dir


def _load(config: TrainConfig) -> tuple[Dataset, Dataset]:
    folders = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
    name = find_dataset(config.dataset, **folders)
    return load_dataset(name, "train", **folders), load_dataset(name, "test", **folders)


def _epochs(
    program: Program, state: TrainState, test_images: HostImages, num_epochs: int
) -> Iterator[tuple[TrainState, EpochMetrics]]:
    """Train epoch by epoch; a state that was yielded is used up by the next epoch."""
    evaluate = make_evaluate(program.mesh, min(_EVALUATION_BATCH, len(test_images)))
    test_images, n = replicate(program.mesh, test_images), len(program.images)
    with tqdm(total=num_epochs * n, unit=" images", unit_scale=True, disable=None, leave=False) as bar:
        for epoch in range(1, num_epochs + 1):
            bar.set_description(f"epoch {epoch}/{num_epochs}")
            start = time.perf_counter()
            state, train_loss = _train_one_epoch(program, state, epoch, bar)
            seconds = time.perf_counter() - start
            test_loss = float(evaluate(state, test_images))
            if not (math.isfinite(train_loss) and math.isfinite(test_loss)):
                raise RunError(f"the loss is not finite after epoch {epoch}; try a smaller --learning-rate.")
            yield state, EpochMetrics(epoch, int(state.step), train_loss, test_loss, seconds, n / seconds)


def _train_one_epoch(program: Program, state: TrainState, epoch: int, bar: tqdm) -> tuple[TrainState, float]:
    """An epoch in pieces of about `_LOOK_SECONDS`, between which Ctrl-C is heard, and the mean of its loss."""
    losses, order = program.begin_epoch(epoch)
    sizes, first, num_steps = program.sizes, 0, 1
    while first < len(sizes):
        start = time.perf_counter()
        last = min(first + num_steps, len(sizes))
        state, losses = program.take_steps(state, losses, order, first, last)
        bar.set_postfix(loss=f"{np.asarray(losses)[first:last].mean():.5f}", refresh=False)
        bar.update(int(sizes[first:last].sum()))
        rate = (last - first) / (time.perf_counter() - start)
        first, num_steps = last, max(1, int(rate * _LOOK_SECONDS))
    return state, float(np.average(losses, weights=sizes))


def _picture(run_dir: Path, state: TrainState, images: HostImages, metrics: EpochMetrics, title: str) -> None:
    from ae_jax.figures import reconstruction_figure  # here: matplotlib takes a second to import

    recons = np.asarray(reconstruct(state, images))
    caption = f"{title}, epoch {metrics.epoch}, test MSE {metrics.test_loss:.5f}"
    figure = reconstruction_figure(images / np.float32(255), recons, caption)
    save_figure(run_dir, f"reconstructions_epoch_{metrics.epoch:04d}", figure)


def _conclude(
    run_dir: Path, history: Sequence[EpochMetrics], train_set: Dataset, test_set: Dataset, latent_dim: int, title: str
) -> None:
    """Compare with PCA: a curve, and the last line on the terminal."""
    from ae_jax.figures import loss_figure

    pca = pca_mse(train_set.images, test_set.images, latent_dim)
    pca_name = f"PCA with {latent_dim} components"
    train_losses = [metrics.train_loss for metrics in history]
    test_losses = [metrics.test_loss for metrics in history]
    figure = loss_figure(train_losses, test_losses, baseline=pca, baseline_name=f"{pca_name}, test images", title=title)
    save_figure(run_dir, "loss", figure)
    test_mse = test_losses[-1]
    comparison = f"{pca / test_mse:.2f} times better" if test_mse <= pca else f"{test_mse / pca:.2f} times worse"
    print(f"{title}: test MSE {test_mse:.5f}, {comparison} than {pca_name} ({pca:.5f}). Everything is in {run_dir}")


def _line(metrics: EpochMetrics) -> str:
    return (
        f"epoch {metrics.epoch:3d}   train loss {metrics.train_loss:.5f}   test loss {metrics.test_loss:.5f}   "
        f"{metrics.seconds:.1f} s   {metrics.images_per_second:,.0f} images/s"
    )


def _describe(dataset: str) -> str:
    return "embedded glyphs (NOT MNIST)" if dataset == "glyphs" else Path(dataset).name
