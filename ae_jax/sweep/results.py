"""Results of a sweep: summary table, learning curves, the weights of each member, and the best member as a run."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from ae_jax.config import TrainConfig
from ae_jax.errors import RunError
from ae_jax.runs.checkpoint_files import checkpoint_path, latest_checkpoint
from ae_jax.runs.checkpoints import write_progress
from ae_jax.runs.metadata import FOLDERS, Metadata, check_metadata
from ae_jax.runs.progress import EpochMetrics, MembersProgress, Progress, parse_history
from ae_jax.runs.reporting import conclude, save_reconstructions
from ae_jax.runs.run import Run
from ae_jax.runs.run_dir import make_unique_dir, rewrite_metrics, save_figure, write_metadata
from ae_jax.sweep.config import SweepConfig
from ae_jax.sweep.table import as_markdown, rows
from ae_jax.system.atomic import write_atomic
from ae_jax.system.lock import lock
from ae_jax.training.checkpoint import checkpoint_info
from ae_jax.types import MembersKeys


def conclude_sweep(sweep: Run[SweepConfig], progress: MembersProgress, keys: MembersKeys) -> None:
    """Write the results of a sweep and print its summary table and its best member.

    Args:
      sweep: the finished sweep.
      progress: the final progress of its members, in host memory.
      keys: the shuffle keys of the members.

    Raises:
      RunError: all members diverged.
    """
    from ae_jax.figures import figure_bytes  # here: matplotlib takes a second to import
    from ae_jax.sweep.figure import curves_figure

    last = progress.history[-1]
    table = as_markdown(rows(sweep.config, last.validation_loss, last.test_loss))
    print(table, end="")
    write_atomic(sweep.run_dir / "table.md", table.encode())
    finite = np.flatnonzero(np.isfinite(last.test_loss)).tolist()
    if not finite:
        raise RunError(f"all members diverged; use smaller values of --learning-rate. Results: {sweep.run_dir}")
    save_figure(
        sweep.run_dir, "curves", figure_bytes(curves_figure(progress.history, sweep.config, sweep.title), ".png")
    )
    members = sweep.config.members
    for i in finite:
        member, metadata = _member_run(sweep, progress, i)
        path = sweep.run_dir / "members" / f"{member_name(members[i])}.safetensors"
        write_progress(path, member, keys[i], {"record": metadata})
    if last.validation_loss is None:
        print("Without validation images, no member is chosen as the best.")
        return
    validation = np.array(last.validation_loss)
    best = finite[int(np.nanargmin(validation[finite]))]
    print(f"Best of {len(members)} members by validation: {member_name(members[best])}")
    _write_best(sweep, *_member_run(sweep, progress, best), keys[best])


def member_name(config: TrainConfig) -> str:
    """The file name of a member: learning rate, weight decay and seed, with all digits that tell members apart."""
    return f"learning_rate_{config.learning_rate!r}-weight_decay_{config.weight_decay!r}-seed_{config.seed}"


def _member_run(sweep: Run[SweepConfig], progress: MembersProgress, i: int) -> tuple[Progress, Metadata]:
    """Progress and metadata of member `i` as a single run; the training time is divided equally among the members."""
    num_members = len(progress.state.step)
    history = tuple(
        EpochMetrics(
            m.epoch,
            m.step,
            m.train_loss[i],
            m.test_loss[i],
            m.seconds / num_members,
            m.images_per_second,
            m.validation_loss[i] if m.validation_loss is not None else None,
        )
        for m in progress.history
    )
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), progress.state)
    held_out = len(sweep.validation_set.images) if sweep.validation_set else 0
    config = dataclasses.replace(sweep.config.members[i], devices=1, validation=held_out).as_json()
    metadata = {**sweep.metadata, "config": config, "devices_used": [str(jax.local_devices()[0])], "resumed": []}
    return Progress(state, jnp.zeros(progress.losses.shape[-1], jnp.float32), progress.step, 0.0, history), metadata


def _write_best(sweep: Run[SweepConfig], progress: Progress, metadata: Metadata, key: Any) -> None:
    """Write the best member as a run in `best`, or in `best-2`, … if that holds another run."""
    existing = (folder for folder in sorted(sweep.run_dir.glob("best*")) if _holds_member(folder, progress, metadata))
    folder = next(existing, None) or make_unique_dir(sweep.run_dir, "best")
    metadata = {**metadata, "config": {**metadata["config"], "run_dir": str(folder)}}
    run = Run(
        folder, TrainConfig(**metadata["config"]), metadata, sweep.train_set, sweep.test_set, sweep.validation_set
    )
    with lock(folder):
        write_progress(checkpoint_path(folder, progress.step), progress, key, {"record": metadata})
        write_metadata(folder, metadata)
        rewrite_metrics(folder, progress.history)
        save_reconstructions(run, progress)
        conclude(run, progress.history)


def _holds_member(folder: Path, progress: Progress, metadata: Metadata) -> bool:
    """Whether `folder` already holds this member, because the sweep had finished before or was killed while writing."""
    path = latest_checkpoint(folder)
    if path is None:
        return False
    info = checkpoint_info(path)
    existing = check_metadata(info.get("record"), path)
    same_member = _without_folders(existing["config"]) == _without_folders(metadata["config"])
    return same_member and len(parse_history(info, float, path)) == len(progress.history)


def _without_folders(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in FOLDERS}
