"""Report of the benchmark: Markdown tables, JSON file and figure."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ae_jax.system.outputs import write_output
from ae_jax.system.temporary import temporary_dir
from benchmarks.config import BenchmarkConfig
from benchmarks.measure import measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def report(config: BenchmarkConfig) -> None:
    """Run the benchmark, print its tables, and write the files named in `config`."""
    with temporary_dir() as folder:  # a signal ends the contenders, too
        results = measure(config, folder)
    print(table(results))
    if config.json:
        write_output(config.json, (json.dumps(results, indent=2) + "\n").encode())
    if config.figure:
        from ae_jax.figures import figure_bytes

        write_output(config.figure, figure_bytes(benchmark_figure(results), Path(config.figure).suffix))


def table(results: dict[str, Any]) -> str:
    """Format the results and their ratios as Markdown tables."""
    return "\n".join(_lines(results))


def best_torch(contenders: dict[str, Any]) -> float | None:
    """The ms per step of the fastest PyTorch contender, or None if PyTorch is not installed."""
    times = [row["min_ms"] for name, row in contenders.items() if name.startswith("PyTorch") and "min_ms" in row]
    return min(times, default=None)


def _lines(results: dict[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    versions = ", ".join(map(" ".join, machine["versions"].items()))
    yield f"{results['dataset']}, {results['images']:,} images, {machine['device']}, {versions}"
    for arch in ("conv", "linear"):
        parts = results.get(arch, {})
        for part, lines in {"steps": _steps, "growth": _growth, "quality": _quality, "scaling": _scaling}.items():
            if part in parts:
                yield ""
                yield from lines(arch, parts[part])
    if "process" in results:
        yield ""
        yield from _process(results["process"])
    if "convolutions" in results:
        yield ""
        yield from _convolutions(results["convolutions"])


def _scaling(arch: str, scaling: dict[str, Any]) -> Iterator[str]:
    if "image_us" in scaling:
        yield f"{arch} on one core: {scaling['fixed_ms']:.2f} ms per step + {scaling['image_us']:.1f} µs per image"
    yield f"| {arch} | ms per step, minimum | median | predicted |"
    yield "|---|---|---|---|"
    for name, row in scaling["configurations"].items():
        if "missing" in row:
            yield f"| {name} | – | – | {row['missing']} |"
            continue
        predicted = f"{row['predicted_ms']:.2f}" if "predicted_ms" in row else ""
        yield f"| {name} | {row['min_ms']:.2f} | {row['median_ms']:.2f} | {predicted} |"


def _steps(arch: str, steps: dict[str, Any]) -> Iterator[str]:
    ours, roofline = steps["contenders"]["ae_jax"]["min_ms"], steps["roofline_ms"]
    yield f"| {arch}, batch 64 | ms per step, minimum | median | s per epoch | relative to ae_jax |"
    yield "|---|---|---|---|---|"
    for name, row in steps["contenders"].items():
        if "missing" in row:
            yield f"| {name} | – | – | – | {row['missing']} |"
        else:
            times = f"{row['min_ms']:.2f} | {row['median_ms']:.2f} | {row['epoch_seconds']:.2f}"
            yield f"| {name} | {times} | {row['min_ms'] / ours:.2f} |"
    rates = f"{steps['gflops_per_second']:.0f} GFLOP/s, {steps['gbytes_per_second']:.0f} GB/s"
    yield f"| roofline ({rates}) | {roofline:.2f} | | | {roofline / ours:.2f} |"
    torch = best_torch(steps["contenders"])
    torch_ratio = f"; fastest PyTorch / ae_jax {torch / ours:.2f}" if torch else ""
    yield f"ae_jax / roofline {ours / roofline:.2f}{torch_ratio}"


def _growth(arch: str, growth: dict[str, Any]) -> Iterator[str]:
    by_images, by_batch = growth["epoch_seconds_by_images"], growth["epoch_seconds_by_batch"]
    all_images = max(by_images, key=int)
    yield f"| {arch}, images | s per epoch | time per image, relative |"
    yield "|---|---|---|"
    for n, seconds in by_images.items():
        ratio = (seconds / int(n)) / (by_images[all_images] / int(all_images))
        yield f"| {int(n):,} | {seconds:.3f} | {ratio:.2f} |"
    yield ""
    yield f"| {arch}, batch size | s per epoch | images/s |"
    yield "|---|---|---|"
    for size, seconds in by_batch.items():
        yield f"| {size} | {seconds:.2f} | {int(all_images) / seconds:,.0f} |"


def _quality(arch: str, quality: dict[str, Any]) -> Iterator[str]:
    yield f"| {arch}, time to test MSE {quality['target']} | training time, s | test MSE |"
    yield "|---|---|---|"
    ours = quality["fast"]
    yield f"| ae_jax `--recipe fast`, largest of ten seeds | {ours['seconds']:.2f} | {ours['test_mse']:.5f} |"
    if "torch" in quality:
        torch = quality["torch"]
        yield f"| {torch['name']}, {torch['epochs']} epochs | {torch['seconds']:.1f} | {torch['test_mse']:.5f} |"
        yield f"PyTorch / ae_jax {torch['seconds'] / ours['seconds']:.1f}"


def _process(process: dict[str, Any]) -> Iterator[str]:
    yield "| whole process, conv | s, minimum | median |"
    yield "|---|---|---|"
    epochs = "4 epochs with figures"
    names = {
        "first_step": "ae_jax, to the first step",
        "first_step_again": "the same, programs in the cache",
        "ae_jax": f"ae_jax, {epochs}",
        "ae_jax_again": "the same, programs in the cache",
        "PyTorch": f"PyTorch, {epochs}",
    }
    for name, row in process.items():
        yield f"| {names[name]} | {row['min']:.2f} | {row['median']:.2f} |"
    if "PyTorch" in process:
        ratios = [process["PyTorch"]["min"] / process[name]["min"] for name in ("ae_jax", "ae_jax_again")]
        yield f"PyTorch / ae_jax {ratios[0]:.2f}, with the programs in the cache {ratios[1]:.2f}"


def _convolutions(layers: dict[str, Any]) -> Iterator[str]:
    for task in ("forward", "gradient"):
        yield f"| {task}, µs per batch of 32: minimum (median) | ae_jax | flax | PyTorch | flax / ae_jax |"
        yield "|---|---|---|---|---|"
        for layer, tasks in layers.items():
            rows = tasks[task]
            cells = [_microseconds(rows.get(name)) for name in ("ae_jax", "flax", "PyTorch")]
            ratio = rows["flax"]["min_us"] / rows["ae_jax"]["min_us"]
            yield f"| {layer} | {' | '.join(cells)} | {ratio:.2f} |"
        yield ""


def _microseconds(row: dict[str, float] | None) -> str:
    return f"{row['min_us']:.0f} ({row['median_us']:.0f})" if row else "–"


def benchmark_figure(results: dict[str, Any]) -> "Figure":
    """One row per model: ms per step of each contender with the roofline, and s per epoch by batch size."""
    from matplotlib.figure import Figure

    archs = [arch for arch in ("conv", "linear") if results.get(arch)]
    figure = Figure(figsize=(10, 3.4 * len(archs)), dpi=150, layout="constrained")
    grid = figure.subplots(len(archs), 2, squeeze=False, width_ratios=(3, 2))
    for arch, (left, right) in zip(archs, grid, strict=True):
        _draw_steps(left, arch, results[arch].get("steps"))
        _draw_growth(right, arch, results[arch].get("growth"))
    figure.suptitle(f"Training time on {results['machine']['device']}, {results['images']:,} images, float32")
    return figure


def _draw_steps(axes: "Axes", arch: str, steps: dict[str, Any] | None) -> None:
    if steps is None:
        axes.set_axis_off()
        return
    rows = {name: row["min_ms"] for name, row in steps["contenders"].items() if "min_ms" in row}
    colors = ["C0" if name == "ae_jax" else "C1" if name.startswith("PyTorch") else "C2" for name in rows]
    bars = axes.barh(list(rows), list(rows.values()), color=colors)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(steps["roofline_ms"], color="black", linestyle="--")
    axes.invert_yaxis()
    label = f" roofline {steps['roofline_ms']:.2f}"
    axes.text(steps["roofline_ms"], 1, label, transform=axes.get_xaxis_transform(), verticalalignment="bottom")
    axes.set_xlim(0, 1.15 * max(rows.values()))
    axes.set_title(f"{arch}: time per step, batch size 64", pad=18)
    axes.set_xlabel("ms per step, minimum")


def _draw_growth(axes: "Axes", arch: str, growth: dict[str, Any] | None) -> None:
    if growth is None:
        axes.set_axis_off()
        return
    by_batch = growth["epoch_seconds_by_batch"]
    positions = range(len(by_batch))
    axes.plot(positions, list(by_batch.values()), "o-", color="C0")
    axes.set_xticks(positions, [str(size) for size in by_batch])
    axes.set_ylim(0, 1.1 * max(by_batch.values()))
    axes.set_title(f"{arch}: time per epoch, ae_jax", pad=18)
    axes.set(xlabel="batch size", ylabel="s per epoch, minimum")
    axes.grid(visible=True, alpha=0.3)
