"""What a finished sweep leaves: a table, curves, every member's weights, and the best member as a run of its own."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from ae_jax.config import TrainConfig
from ae_jax.errors import RunError
from ae_jax.runs.checkpoints import checkpoint_path, latest_checkpoint, write_progress
from ae_jax.runs.metadata import Metadata
from ae_jax.runs.progress import EpochMetrics, MembersProgress, Progress
from ae_jax.runs.reporting import conclude, picture_reconstructions
from ae_jax.runs.run import Run
from ae_jax.runs.run_dir import fresh_folder, rewrite_metrics, save_picture, write_metadata
from ae_jax.sweep.config import SweepConfig
from ae_jax.sweep.table import as_markdown, rows
from ae_jax.system.atomic import write_whole
from ae_jax.system.lock import lock
from ae_jax.training.checkpoint import checkpoint_info
from ae_jax.types import MembersKeys


def conclude_sweep(sweep: Run[SweepConfig], progress: MembersProgress, keys: MembersKeys) -> None:
    """Write all of it, and say what is best.

    Args:
      sweep: the sweep.
      progress: the members at their end, in host memory.
      keys: their shuffle keys.

    Raises:
      RunError: all members diverged.
    """
    from ae_jax.figures import figure_bytes  # here: matplotlib takes a second to import
    from ae_jax.sweep.figure import curves_figure

    test_losses = np.array([metrics.test_loss for metrics in progress.history], np.float64)
    table = as_markdown(rows(sweep.config, test_losses[-1].tolist()))
    print(table, end="")
    write_whole(sweep.run_dir / "table.md", table.encode())
    finite = [place for place, loss in enumerate(test_losses[-1]) if np.isfinite(loss)]
    if not finite:
        raise RunError(f"all members diverged; sweep over smaller --learning-rate. Everything is in {sweep.run_dir}")
    save_picture(sweep.run_dir, "curves", figure_bytes(curves_figure(test_losses, sweep.config, sweep.title), ".png"))
    members = sweep.config.members
    for place in finite:
        member, metadata = _member(sweep, members[place], progress, place)
        path = sweep.run_dir / "members" / f"{member_name(members[place])}.safetensors"
        write_progress(path, member, keys[place], {"record": metadata})
    best = min(finite, key=lambda place: test_losses[-1][place])
    print(f"The best of {len(members)}: {member_name(members[best])}")
    _write_best(sweep, *_member(sweep, members[best], progress, best), keys[best])


def member_name(config: TrainConfig) -> str:
    """What tells a member from the others."""
    return f"learning_rate_{config.learning_rate:g}-weight_decay_{config.weight_decay:g}-seed_{config.seed}"


def _member(
    sweep: Run[SweepConfig], config: TrainConfig, progress: MembersProgress, place: int
) -> tuple[Progress, Metadata]:
    """A member as the run that it would be alone: its time is its share."""
    num_members = len(progress.state.step)
    history = tuple(
        EpochMetrics(
            metrics.epoch,
            metrics.step,
            metrics.train_loss[place],
            metrics.test_loss[place],
            metrics.seconds / num_members,
            metrics.images_per_second,
        )
        for metrics in progress.history
    )
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[place]), progress.state)
    alone = {"devices_used": [str(jax.local_devices()[0])], "resumed": []}
    metadata = {**sweep.metadata, "config": dataclasses.replace(config, devices=1).as_json(), **alone}
    return Progress(state, jnp.zeros(progress.losses.shape[-1]), progress.step, 0.0, history), metadata


def _write_best(sweep: Run[SweepConfig], progress: Progress, metadata: Metadata, key: Any) -> None:
    """Make it a run of its own, in `best` or, where another run is there already, `best-2`, …."""
    there = (folder for folder in sorted(sweep.run_dir.glob("best*")) if _is_same(folder, progress, metadata))
    folder = next(there, None) or fresh_folder(sweep.run_dir, "best")
    metadata = {**metadata, "config": {**metadata["config"], "run_dir": str(folder)}}
    config = TrainConfig(**metadata["config"])
    run = Run(folder, config, metadata, sweep.train_set, sweep.test_set)
    with lock(folder):
        write_progress(checkpoint_path(folder, progress.step), progress, key, {"record": metadata})
        write_metadata(folder, metadata)
        rewrite_metrics(folder, progress.history)
        picture_reconstructions(run, progress)
        conclude(run, progress.history)


def _is_same(folder: Path, progress: Progress, metadata: Metadata) -> bool:
    """Whether this member is what is there: the sweep was concluded before, or killed meanwhile."""
    path = latest_checkpoint(folder)
    if path is None:
        return False
    info = checkpoint_info(path)
    same_member = {**info["record"]["config"], "run_dir": None} == metadata["config"]
    return same_member and len(info["history"]) == len(progress.history)
