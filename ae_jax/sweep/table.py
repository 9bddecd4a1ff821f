"""Summary table of a sweep: test error of each setting over its seeds."""

import dataclasses
import math

import numpy as np

from ae_jax.sweep.config import SweepConfig


@dataclasses.dataclass(frozen=True)
class Row:
    """Test errors of one setting over its seeds."""

    learning_rate: float
    weight_decay: float
    losses: tuple[float, ...]  # of the seeds that did not diverge
    diverged: int

    @property
    def mean(self) -> float:
        """The mean; NaN if all seeds diverged."""
        return float(np.mean(self.losses)) if self.losses else math.nan

    @property
    def std(self) -> float:
        """The sample standard deviation; NaN for fewer than two losses."""
        return float(np.std(self.losses, ddof=1)) if len(self.losses) > 1 else math.nan

    def line(self, is_best: bool) -> str:
        """The row in Markdown; in bold if `is_best`."""
        spread = f" ± {self.std:.5f}" if len(self.losses) > 1 else ""
        mean = f"{self.mean:.5f}{spread}" if self.losses else "–"
        mean = f"**{mean}**" if is_best else mean
        best = f"{min(self.losses):.5f}" if self.losses else "–"
        seeds = f"{len(self.losses)}" + (f" ({self.diverged} more diverged)" if self.diverged else "")
        return f"| {self.learning_rate:g} | {self.weight_decay:g} | {seeds} | {mean} | {best} |"


def rows(config: SweepConfig, test_losses: list[float]) -> list[Row]:
    """One row per setting, from the test loss of each member."""
    by_setting = np.reshape(test_losses, (-1, config.seeds))
    return [
        Row(*setting, tuple(losses[np.isfinite(losses)].tolist()), int((~np.isfinite(losses)).sum()))
        for setting, losses in zip(config.settings, by_setting, strict=True)
    ]


def as_markdown(table: list[Row]) -> str:
    """The table in Markdown, with the lowest mean in bold."""
    finite = [row.mean for row in table if row.losses]
    head = ("| learning rate | weight decay | seeds | test MSE, mean ± std | best |", "|---|---|---|---|---|")
    return "\n".join([*head, *(row.line(bool(finite) and row.mean == min(finite)) for row in table)]) + "\n"
