"""What a sweep came to, setting by setting."""

import dataclasses
import math

import numpy as np

from ae_jax.sweep.config import SweepConfig


@dataclasses.dataclass(frozen=True)
class Row:
    """A setting's test errors over its seeds."""

    learning_rate: float
    weight_decay: float
    losses: tuple[float, ...]  # of the seeds that did not diverge
    diverged: int

    @property
    def mean(self) -> float:
        """NaN where all diverged."""
        return float(np.mean(self.losses)) if self.losses else math.nan

    @property
    def std(self) -> float:
        """The sample standard deviation; NaN for fewer than two."""
        return float(np.std(self.losses, ddof=1)) if len(self.losses) > 1 else math.nan

    def line(self, is_best: bool) -> str:
        """As Markdown."""
        figures = "–"
        if self.losses:
            spread = f" ± {self.std:.5f}" if len(self.losses) > 1 else ""
            figures = f"{self.mean:.5f}{spread}"
        if is_best:
            figures = f"**{figures}**"
        best = f"{min(self.losses):.5f}" if self.losses else "–"
        seeds = f"{len(self.losses)}" + (f" ({self.diverged} more diverged)" if self.diverged else "")
        return f"| {self.learning_rate:g} | {self.weight_decay:g} | {seeds} | {figures} | {best} |"


def rows(config: SweepConfig, test_losses: list[float]) -> list[Row]:
    """A row a setting, of the members' losses."""
    by_setting = np.reshape(test_losses, (-1, config.seeds))
    return [
        Row(*setting, tuple(losses[np.isfinite(losses)].tolist()), int((~np.isfinite(losses)).sum()))
        for setting, losses in zip(config.settings, by_setting, strict=True)
    ]


def as_markdown(table: list[Row]) -> str:
    """The table; the setting with the lowest mean in bold."""
    finite = [row.mean for row in table if row.losses]
    head = ("| learning rate | weight decay | seeds | test MSE, mean ± std | best |", "|---|---|---|---|---|")
    return "\n".join([*head, *(row.line(bool(finite) and row.mean == min(finite)) for row in table)]) + "\n"
