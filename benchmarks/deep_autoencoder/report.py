"""Table and figure of the benchmark, and the test whether one entry beats another."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy import stats

from ae_jax.figures import DPI, PALETTE
from benchmarks.contenders import Table
from benchmarks.deep_autoencoder.task import MEASURE_EVERY, TARGETS

_ERRORS, _SECONDS = (3, 4, 5, 7, 10, 12, 20, 40), (1, 3, 10, 30, 100, 300)  # ticks of the figure
Result = Mapping[str, Any]  # of an entry: errors and seconds f64[seeds, measurements], test f64[seeds]


def steps_to(target: float, errors: Float[np.ndarray, "seeds measurements"]) -> Float[np.ndarray, "seeds"]:
    """The steps after which each seed's error is at most `target` for the first time; infinite if it never is."""
    reached = errors <= target
    return np.where(reached.any(1), (reached.argmax(1) + 1) * MEASURE_EVERY, np.inf)


def seconds_to(target: float, result: Result) -> Float[np.ndarray, "seeds"]:
    """The seconds of training until then."""
    reached = np.asarray(result["errors"]) <= target
    seconds = np.take_along_axis(np.asarray(result["seconds"]), reached.argmax(1)[:, None], 1)[:, 0]
    return np.where(reached.any(1), seconds, np.inf)


def z_test(ours: Float[np.ndarray, "a"], others: Float[np.ndarray, "b"]) -> tuple[float, float]:
    """The z-score of the difference of two means, and the probability of one at least as large if there were none.

    Positive if `ours` are less than `others`: steps to a target of several seeds. One-sided.
    """
    rounding = MEASURE_EVERY**2 / 12  # variance of steps that are known to one measurement
    variance = (ours.var(ddof=1) + rounding) / len(ours) + (others.var(ddof=1) + rounding) / len(others)
    z = float((others.mean() - ours.mean()) / np.sqrt(variance))
    return z, float(stats.norm.sf(z))


def compare(name: str, results: Mapping[str, Result]) -> str:
    """Whether an entry reaches the middle target in fewer steps than the best of the others.

    The text is empty unless at least two seeds of both entries reach it, and all that there are.
    """
    steps = {each: steps_to(TARGETS[1], np.asarray(result["errors"])) for each, result in results.items()}
    reached = {each: values for each, values in steps.items() if len(values) > 1 and np.isfinite(values).all()}
    if name not in reached or len(reached) < 2:
        return ""
    best = min(reached.keys() - {name}, key=lambda each: reached[each].mean())
    z, probability = z_test(reached[name], reached[best])
    return f"{name}: steps to {TARGETS[1]:g} against {best}, the best of the others: z = {z:.1f}, p = {probability:.2g}"


def make_table(results: Mapping[str, Result]) -> Table:
    """One row per entry, that with the least validation error first."""
    rows = {}
    for name, result in _by_error(results):
        errors = np.asarray(result["errors"])
        row = {f"steps to {target:g}": _spread(steps_to(target, errors), 0) for target in TARGETS}
        row |= {f"s to {target:g}": _spread(seconds_to(target, result), 0) for target in TARGETS[1:2]}
        row |= {"validation": _spread(errors[:, -1], 3), "test": _spread(np.asarray(result["test"]), 3)}
        rows[name] = row | {"s": f"{np.mean(np.asarray(result['seconds'])[:, -1]):.0f}"}
    return rows


def _by_error(results: Mapping[str, Result]) -> list[tuple[str, Result]]:
    """The least validation error first; those that diverged last."""

    def error(item: tuple[str, Result]) -> float:
        return float(np.nan_to_num(np.mean([errors[-1] for errors in item[1]["errors"]]), nan=np.inf))

    return sorted(results.items(), key=error)


def _spread(values: Float[np.ndarray, "seeds"], digits: int) -> str:
    """Mean and standard deviation; a dash if a seed has no value."""
    if not np.isfinite(values).all():
        return "–"
    deviation = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"


def make_figure(results: Mapping[str, Result]) -> Figure:
    """Validation error against steps, and against seconds: the mean over the seeds, the least error first."""
    figure = Figure(figsize=(11, 4.6), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for i, (name, result) in enumerate(_by_error(results)):
        errors, seconds = (np.mean(np.asarray(result[each]), 0) for each in ("errors", "seconds"))
        style = {"color": PALETTE[i % len(PALETTE)], "linestyle": ("-", "--")[i // len(PALETTE) % 2], "label": name}
        left.plot(MEASURE_EVERY * np.arange(1, len(errors) + 1), errors, **style)
        right.plot(seconds, errors, **style)
    right.set(xlabel="seconds of training", xscale="log", xlim=(1, None))
    right.set_xticks(_SECONDS, map(str, _SECONDS))
    left.set(xlabel="steps", ylabel="squared error per validation image", yscale="log", ylim=(None, max(_ERRORS)))
    left.set_yticks(_ERRORS, map(str, _ERRORS))
    for axes in (left, right):
        axes.minorticks_off()
        for target in TARGETS:
            axes.axhline(target, color="grey", linewidth=0.6)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure
