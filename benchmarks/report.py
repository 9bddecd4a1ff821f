"""Report of the benchmark: Markdown tables and a figure."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ae_jax.figures import DPI, MODEL_COLOR, PALETTE
from benchmarks.contenders import Table
from benchmarks.measure import BATCHES, STEPS


def describe(machine: dict[str, Any]) -> str:
    """The data, if they are named, the device and the versions, in one line."""
    data = f"{machine['dataset']}, {machine['images']:,} images, " if "dataset" in machine else ""
    return f"{data}{machine['device']}, {', '.join(map(' '.join, machine['versions'].items()))}"


def format_table(title: str, table: Table) -> str:
    """Format a table as Markdown; a column that a row does not have is empty there."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    lines = [[title, *columns], ["---"] * (1 + len(columns))]
    lines += [[name, *(_format(row.get(column, "")) for column in columns)] for name, row in table.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _format(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def benchmark_figure(results: dict[str, Any]) -> Figure:
    """One row per model: ms per step of each contender with the roofline, and s per epoch by batch size."""
    archs = [arch for arch in ("conv", "linear") if any(title.startswith(arch) for title in results)]
    figure = Figure(figsize=(10, 3.4 * max(1, len(archs))), dpi=DPI, layout="constrained")
    grid = figure.subplots(max(1, len(archs)), 2, squeeze=False, width_ratios=(3, 2))
    for axes in grid.flat:
        axes.set_axis_off()
    for arch, (left, right) in zip(archs, grid, strict=False):
        if STEPS.format(arch) in results:
            _draw_steps(left, arch, results[STEPS.format(arch)])
        if BATCHES.format(arch) in results:
            _draw_batches(right, arch, results[BATCHES.format(arch)])
    machine = results["machine"]
    figure.suptitle(f"Training time on {machine['device']}, {machine['images']:,} images, float32")
    return figure


def _draw_steps(axes: Axes, arch: str, steps: Table) -> None:
    axes.set_axis_on()
    times = {name: row["ms"] for name, row in steps.items() if "ms" in row}
    roofline = times.pop("roofline")
    colors = [MODEL_COLOR if name == "ae_jax" else PALETTE[1 + name.startswith("PyTorch")] for name in times]
    bars = axes.barh(list(times), list(times.values()), color=colors)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(roofline, color="black", linestyle="--")
    axes.invert_yaxis()
    label = f" roofline {roofline:.2f}"
    axes.text(roofline, 1, label, transform=axes.get_xaxis_transform(), verticalalignment="bottom")
    axes.set_xlim(0, 1.15 * max(times.values()))
    axes.set_title(f"{arch}: time per step, batch size 64", pad=18)
    axes.set_xlabel("ms per step, minimum")


def _draw_batches(axes: Axes, arch: str, batches: Table) -> None:
    axes.set_axis_on()
    seconds = [row["s per epoch"] for row in batches.values()]
    axes.plot(list(batches), seconds, "o-", color=MODEL_COLOR)
    axes.set_ylim(0, 1.1 * max(seconds))
    axes.set_title(f"{arch}: time per epoch, ae_jax", pad=18)
    axes.set(xlabel="batch size", ylabel="s per epoch, minimum")
    axes.grid(visible=True, alpha=0.3)
