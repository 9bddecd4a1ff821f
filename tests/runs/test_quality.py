"""The test error that the documentation promises, on the real digits."""

import json
from pathlib import Path

import pytest

from ae_jax.config import TrainConfig, fast
from ae_jax.runs.train import train

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.optimised]


def last_metrics(config: TrainConfig) -> dict[str, float]:
    return json.loads((train(config) / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize(("arch", "bar"), [("linear", 0.0335), ("conv", 0.0028)])
def test_the_fast_recipe_reaches_its_test_error(arch: str, bar: float, mnist_files: Path) -> None:
    assert last_metrics(fast(arch, manual_dir=str(mnist_files)))["test_loss"] <= bar


def test_one_default_epoch_reaches_its_test_error(mnist_files: Path) -> None:
    metrics = last_metrics(TrainConfig("linear", epochs=1, manual_dir=str(mnist_files)))
    assert metrics["step"] == 938
    assert metrics["test_loss"] <= 0.0450
