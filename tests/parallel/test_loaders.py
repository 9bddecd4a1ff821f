"""Streaming loader: the same results as with the images resident in device memory."""

import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.data.stored_images import StoredImages
from ae_jax.parallel.loaders import ResidentLoader, StreamingLoader
from ae_jax.runs.program import make_program, make_test_loss
from ae_jax.runs.setup import run_mesh
from ae_jax.runs.train import train
from tests.support.devices import needs_cpu, needs_devices
from tests.support.outcomes import largest_difference


@pytest.mark.parametrize("num_devices", [1, 3])
@pytest.mark.parametrize("chunk_steps", [1, 2, 5])
def test_streamed_batches_equal_resident_batches_and_cover_each_image_once(
    num_devices: int, chunk_steps: int, digits: np.ndarray
) -> None:
    needs_devices(num_devices)
    mesh = run_mesh(TrainConfig(devices=str(num_devices)))
    order = np.random.default_rng(0).permutation(300)
    resident, streamed = ResidentLoader(mesh, digits), StreamingLoader(mesh, digits, 64, chunk_steps * 64 * 784)
    ((whole, *_),) = resident.chunks(resident.place_order(order), 0, 5)
    weights = 0
    for chunk, first, last in streamed.chunks(streamed.place_order(order), 0, 5):
        assert last - first <= chunk_steps
        for i, shard in itertools.product(range(first, last), range(num_devices)):
            own = chunk._replace(images=np.asarray(chunk.images)[shard : shard + 1])
            images, weight = own.batch(i, 64, shard=shard, num_shards=num_devices)
            expected, expected_weight = whole.batch(i, 64, shard=shard, num_shards=num_devices)
            np.testing.assert_array_equal(weight, expected_weight)
            np.testing.assert_array_equal(images[weight > 0], expected[weight > 0])
            weights += int((weight > 0).sum())
    assert weights == 300


@pytest.mark.parametrize(("arch", "devices"), [("linear", "1"), ("conv", "2")])
def test_streamed_training_matches_resident_training(arch: str, devices: str, stored: StoredImages) -> None:
    needs_devices(int(devices))
    config = TrainConfig(arch=arch, devices=devices, epochs=2)
    mesh = run_mesh(config)
    results = {}
    for stream in (False, True):
        program, state = make_program(config, stored, mesh, stream=stream)
        for epoch, bounds in {1: [0, 5], 2: [0, 2, 3, 5]}.items():
            order, losses = program.order(epoch), program.no_losses()
            for first, last in itertools.pairwise(bounds):
                state, losses = program.run_steps(state, losses, order, first, last)
        results[stream] = (state.params, losses, make_test_loss(mesh, stored, state, stream=stream)(state))
    assert largest_difference(*results.values()) <= 1e-6  # the same float32 operations, fused differently


@needs_cpu
def test_dataset_exceeding_memory_is_streamed_with_a_message(
    environment: None, own_images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig(arch="linear", dataset=str(own_images), epochs=1, devices="1")
    sizes = {"large": 2**40, "small": 300 * 784}  # 300 images would leave no memory for training
    for name, size in sizes.items():
        monkeypatch.setattr("psutil.virtual_memory", lambda size=size: SimpleNamespace(available=size))
        train(dataclasses.replace(config, run_dir=name))
        assert ("they are streamed" in capsys.readouterr().out) == (name == "small")
    params = [ae_jax.load_model(name).params for name in sizes]
    assert largest_difference(*params) <= 1e-6
