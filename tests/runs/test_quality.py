"""The test error that the documentation promises, on the real digits."""

import json
from pathlib import Path

import pytest

from ae_jax.config import TrainConfig, fast
from ae_jax.runs.train import train

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.optimised]


@pytest.mark.parametrize(
    ("config", "steps", "bar"),
    [(fast("linear"), 800, 0.0335), (fast("conv"), 450, 0.0028), (TrainConfig("linear", epochs=1), 938, 0.0450)],
)
def test_a_recipe_reaches_its_test_error(
    config: TrainConfig, steps: int, bar: float, mnist_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AE_JAX_MANUAL_DIR", str(mnist_files))
    metrics = json.loads((train(config) / "metrics.jsonl").read_text().splitlines()[-1])
    assert metrics["step"] == steps
    assert metrics["test_loss"] <= bar
