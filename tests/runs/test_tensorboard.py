import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.runs.train import resume, train


def read_events(run_dir: Path) -> EventAccumulator:
    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def test_tensorboard_events_match_the_metrics_and_figures(labelled_images: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    settings = {"dataset": str(labelled_images), "run_dir": str(run_dir), "figure_every": 2}
    train(TrainConfig("linear", epochs=3, tensorboard=True, **settings))
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    events = read_events(run_dir)
    for tag, key in (("loss/train", "train_loss"), ("loss/test", "test_loss")):
        assert [scalar.step for scalar in events.Scalars(tag)] == [line["step"] for line in lines]
        assert [scalar.value for scalar in events.Scalars(tag)] == pytest.approx(
            [line[key] for line in lines], rel=1e-6
        )
    figures = {image.step: image.encoded_image_string for image in events.Images("reconstructions")}
    assert figures.keys() == {10, 15}
    assert figures[10] == (run_dir / "figures" / "reconstructions_epoch_0002.png").read_bytes()


def test_resume_discards_tensorboard_events_after_the_last_checkpoint(labelled_images: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    config = TrainConfig("linear", epochs=3, tensorboard=True, dataset=str(labelled_images), run_dir=str(run_dir))
    train(config)
    whole = read_events(run_dir).Scalars("loss/test")
    for step in (10, 15):  # as if it had been killed before the checkpoint of epoch 2
        (run_dir / "checkpoints" / f"step_{step:08d}.safetensors").unlink()
    resume(run_dir)
    events = read_events(run_dir).Scalars("loss/test")
    assert [(scalar.step, scalar.value) for scalar in events] == [(scalar.step, scalar.value) for scalar in whole]


def test_missing_tensorboard_is_reported_before_the_run_starts(
    labelled_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = TrainConfig("linear", tensorboard=True, dataset=str(labelled_images), run_dir=str(tmp_path / "run"))
    with pytest.raises(ae_jax.InputError, match=r'pip install "ae_jax\[tensorboard\]"'):
        train(config)
    assert not list(tmp_path.iterdir())
