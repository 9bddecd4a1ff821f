"""Summary table of a sweep: validation and test error of each setting over its seeds."""

import dataclasses
import math

import numpy as np

from ae_jax.sweep.config import SweepConfig


@dataclasses.dataclass(frozen=True)
class Errors:
    """Errors of one setting over its seeds that did not diverge."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean; NaN if all seeds diverged."""
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def std(self) -> float:
        """The sample standard deviation; NaN for fewer than two values."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan

    def __str__(self) -> str:
        spread = f" ± {self.std:.5f}" if len(self.values) > 1 else ""
        return f"{self.mean:.5f}{spread}" if self.values else "–"


@dataclasses.dataclass(frozen=True)
class Row:
    """The results of one setting."""

    learning_rate: float
    weight_decay: float
    validation: Errors | None  # None without validation images
    test: Errors
    diverged: int

    def cells(self, is_best: bool) -> list[str]:
        """The row's cells in Markdown; its errors in bold if `is_best`."""
        errors = [str(each) for each in (self.validation, self.test) if each]
        seeds = f"{len(self.test.values)}" + (f" ({self.diverged} more diverged)" if self.diverged else "")
        return [
            f"{self.learning_rate:g}",
            f"{self.weight_decay:g}",
            seeds,
            *(f"**{text}**" if is_best else text for text in errors),
        ]


def rows(config: SweepConfig, validation_losses: list[float] | None, test_losses: list[float]) -> list[Row]:
    """One row per setting, from the losses of each member."""
    test = np.reshape(test_losses, (-1, config.seeds))
    validation = None if validation_losses is None else np.reshape(validation_losses, (-1, config.seeds))
    return [
        Row(
            *setting,
            None if validation is None else _finite(validation[i]),
            _finite(test[i]),
            int((~np.isfinite(test[i])).sum()),
        )
        for i, setting in enumerate(config.settings)
    ]


def as_markdown(table: list[Row]) -> str:
    """The table in Markdown, with the lowest mean validation error in bold; none without validation."""
    kinds = ["validation", "test"] if table[0].validation else ["test"]
    head = ["learning rate", "weight decay", "seeds", *(f"{kind} MSE, mean ± std" for kind in kinds)]
    means = [row.validation.mean for row in table if row.validation and row.validation.values]
    body = [
        row.cells(bool(means) and row.validation is not None and row.validation.mean == min(means)) for row in table
    ]
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("| --- ", "|---").replace("|--- |", "|---|")


def _finite(losses: np.ndarray) -> Errors:
    return Errors(tuple(losses[np.isfinite(losses)].tolist()))
