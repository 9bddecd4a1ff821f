"""Reports of a sweep: terminal lines, summary table, learning curves, members' weights, the best member as a run."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Float
from tqdm import tqdm

from ae_jax.config import SweepConfig, TrainConfig
from ae_jax.errors import RunError
from ae_jax.runs.report import align_table, save_reconstructions
from ae_jax.runs.report import conclude as conclude_run
from ae_jax.runs.run_dir import History, Run, save_run_state
from ae_jax.runs.setup import Splits
from ae_jax.training.state import TrainState

Histories: TypeAlias = Sequence[History]  # one per member


def report(run: Run, histories: Histories) -> None:
    """Print a finished epoch and write `metrics.jsonl`, one line per epoch with the losses of all members."""
    last = histories[0][-1]
    name = "test" if last.validation_loss is None else "validation"
    losses = _losses(histories, name)[-1]
    best = f"{np.nanmin(losses):.5f}" if np.isfinite(losses).any() else "none, all diverged"
    speed = f"{last.seconds * len(histories):.1f} s   {last.images_per_second:,.0f} images/s"
    tqdm.write(f"epoch {last.epoch:3d}   best {name} loss of {len(histories)} members: {best}   {speed}")
    lines = [_line(epoch) for epoch in zip(*histories, strict=True)]
    run.write("metrics.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines).encode())


def conclude(run: Run, config: SweepConfig, data: Splits, states: TrainState, histories: Histories) -> None:
    """Write the results of a sweep and print its summary table and its best member; `RunError` if all diverged.

    `states` are the final states of the members, stacked, in host memory.
    """
    table = summary_table(config, histories)
    print(table, end="")
    run.write("table.md", table.encode())
    finite = np.flatnonzero(np.isfinite(_losses(histories, "test")[-1])).tolist()
    if not finite:
        raise RunError(f"all members diverged; give smaller values of `learning_rate`. Results: {run.path}")
    from ae_jax.figures import default_style  # here: importing matplotlib takes a second

    run.write("figures/curves.png", default_style(curves_png)(config, histories, run.title))
    for i in finite:
        member = _member_run(run, config.members[i], data)
        path = run.path / "members" / f"{member_name(member.config)}.safetensors"
        save_run_state(path, _state(states, i), histories[i], member.metadata)
    if data.validation is None:
        print("Without validation images, no member is chosen as the best.")
        return
    best = finite[int(np.nanargmin(_losses(histories, "validation")[-1][finite]))]
    print(f"Best of {len(histories)} members by validation: {member_name(config.members[best])}")
    best_run, state = _member_run(run, config.members[best], data), _state(states, best)
    best_run.path.mkdir()
    best_run.begin(state, histories[best])
    best_run.write_metrics(histories[best])
    save_reconstructions(best_run, data.test, state, histories[best])
    conclude_run(best_run, data, histories[best])


def member_name(config: TrainConfig) -> str:
    """The file name of a member: learning rate, weight decay and seed, with all digits that tell members apart."""
    return f"learning_rate_{config.learning_rate!r}-weight_decay_{config.weight_decay!r}-seed_{config.seed}"


def summary_table(config: SweepConfig, histories: Histories) -> str:
    """Markdown: a row per setting with mean and standard deviation of its errors over the seeds that did not diverge.

    A star marks the lowest mean validation error; without validation images there is none.
    """
    kinds = ["test"] if histories[0][-1].validation_loss is None else ["validation", "test"]
    errors = {kind: _losses(histories, kind)[-1].reshape(-1, config.seeds) for kind in kinds}
    means = [np.mean(row[np.isfinite(row)]) if np.isfinite(row).any() else math.inf for row in errors[kinds[0]]]
    rows = [["learning rate", "weight decay", "seeds", *(f"{kind} MSE" for kind in kinds)]]
    for i, (learning_rate, weight_decay) in enumerate(config.settings):
        is_best = len(kinds) > 1 and np.isfinite(means[i]) and means[i] == min(means)
        num_finite = int(np.isfinite(errors["test"][i]).sum())
        diverged = f" ({config.seeds - num_finite} more diverged)" if num_finite < config.seeds else ""
        rows.append([f"{learning_rate:g}{' *' if is_best else ''}", f"{weight_decay:g}", f"{num_finite}{diverged}"])
        rows[-1] += [_describe(errors[kind][i]) for kind in kinds]
    return f"{align_table(rows)}\n"


def curves_png(config: SweepConfig, histories: Histories, title: str) -> bytes:
    """Mean validation error of each setting after each epoch; the band is ± one standard deviation over the seeds.

    Without validation images, the test error.
    """
    from matplotlib.figure import Figure  # here: importing matplotlib takes a second

    from ae_jax.figures import DPI, PALETTE, figure_bytes, scale_for_errors

    kind = "test" if histories[0][-1].validation_loss is None else "validation"
    losses = _losses(histories, kind)
    epochs, by_setting = np.arange(1, len(losses) + 1), losses.reshape(len(losses), -1, config.seeds)
    figure = Figure(figsize=(7.2, 4.5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=PALETTE)
    for i, (learning_rate, weight_decay) in enumerate(config.settings):
        mean, std = _mean_and_std(by_setting[:, i])
        label = f"learning rate {learning_rate:g}"
        label += f", weight decay {weight_decay:g}" if len(config.weight_decay) > 1 else ""
        (line,) = axes.plot(epochs, mean, "o-", markersize=3, label=label)
        axes.fill_between(epochs, mean - std, mean + std, color=line.get_color(), alpha=0.2, linewidth=0)
    seeds = f"mean ± standard deviation of {config.seeds} seeds" if config.seeds > 1 else "one seed"
    axes.set_title(f"{title}: {kind} error, {seeds}")
    scale_for_errors(axes, len(epochs))
    axes.legend(fontsize="small", ncols=2 if len(config.settings) > 8 else 1)
    return figure_bytes(figure, ".png")


def _losses(histories: Histories, kind: str) -> Float[np.ndarray, "epochs members"]:
    return np.array([[getattr(each, f"{kind}_loss") for each in epoch] for epoch in zip(*histories, strict=True)])


def _describe(errors: Float[np.ndarray, "seeds"]) -> str:
    finite = errors[np.isfinite(errors)]
    spread = f" ± {finite.std(ddof=1):.5f}" if len(finite) > 1 else ""
    return f"{finite.mean():.5f}{spread}" if len(finite) else "–"


def _mean_and_std(losses: Float[np.ndarray, "epochs seeds"]) -> tuple[np.ndarray, np.ndarray]:
    """Over the seeds that did not diverge, NaN where all did; with one seed the deviation is 0."""
    finite = np.ma.masked_invalid(losses)
    return finite.mean(1).filled(np.nan), finite.std(1, ddof=min(1, losses.shape[1] - 1)).filled(np.nan)


def _line(epoch: History) -> dict[str, Any]:
    """The metrics of all members after an epoch, JSON types; JSON has no NaN or infinity: null."""
    first = epoch[0]
    losses = {
        name: [value if math.isfinite(value) else None for value in (getattr(each, name) for each in epoch)]
        for name in ("train_loss", "test_loss", "validation_loss", "test_cross_entropy", "validation_cross_entropy")
        if getattr(first, name) is not None
    }
    times = {"seconds": first.seconds * len(epoch), "images_per_second": first.images_per_second}
    return {"epoch": first.epoch, "step": first.step, **losses, **times}


def _member_run(sweep: Run, config: TrainConfig, data: Splits) -> Run:
    """A member as a single run, which may be trained further, in the sweep's directory `best`."""
    held_out = len(data.validation.images) if data.validation else 0
    config = dataclasses.replace(config, devices=1, validation=held_out, run_dir=str(sweep.path / "best"))
    metadata = {**sweep.metadata, "config": dataclasses.asdict(config), "devices_used": [str(jax.local_devices()[0])]}
    return Run(sweep.path / "best", config, metadata)


def _state(states: TrainState, i: int) -> TrainState:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), states)
