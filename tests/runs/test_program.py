"""The program of a run: what `ae_jax.train_epoch` computes, whatever the segments, and what each setting changes."""

import functools
import itertools
import types

import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.parallel import steps
from ae_jax.parallel.steps import Program, compile_program, replicate
from ae_jax.runs.setup import epoch_key, initial_state, run_loss, run_mesh, schedule
from tests.support.outcomes import largest_difference


@functools.cache
def images() -> np.ndarray:
    """Random ones: in some digits a gradient nearly vanishes, and Adam divides by its size."""
    return np.random.default_rng(0).integers(0, 256, (270, 28, 28, 1), np.uint8)


def make_program(config: TrainConfig) -> tuple[Program, ae_jax.TrainState]:
    mesh = run_mesh(config)
    state = replicate(mesh, initial_state(config, images()))
    return compile_program(mesh, images(), state, config.batch_size, config.steps_per_epoch, run_loss(config)), state


def train(
    program: Program, state: ae_jax.TrainState, key: jax.Array
) -> tuple[ae_jax.TrainState, np.ndarray, list[int]]:
    """Train an epoch; return the state, the losses and the end of each segment."""
    segments = [(state, metrics["loss"], last) for state, metrics, last in program.train_epoch(state, key)]
    return *segments[-1][:2], [last for *_, last in segments]


@pytest.mark.optimised
def test_segments_of_any_length_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig("linear", batch_size=9)
    ends = {}
    for seconds, expected in {0.5: [16, 30], 1.0: [16, 24, 28, 30], 99.0: [16, *range(17, 31)]}.items():
        clock = types.SimpleNamespace(perf_counter=itertools.count(0.0, seconds).__next__)  # so long takes a segment
        monkeypatch.setattr(steps, "time", clock)
        program, state = make_program(config)
        *ends[seconds], segments = train(program, state, epoch_key(config, 1))
        assert segments == expected
    assert largest_difference(ends[1.0], ends[0.5]) == largest_difference(ends[99.0], ends[0.5]) == 0


@pytest.mark.parametrize("settings", [{}, {"schedule": "cosine", "warmup": 0.3, "beta1": 0.8, "noise": 0.3}])
def test_a_run_is_train_epoch_with_keys_of_seed_and_epoch(settings: dict[str, object]) -> None:
    config = TrainConfig("linear", epochs=2, seed=5, **settings)
    program, state = make_program(config)
    init_key, epochs_key = jax.random.split(jax.random.key(5))
    expected = ae_jax.create_train_state(
        ae_jax.LinearAutoencoder(),
        init_key,
        schedule=schedule(config, 2 * len(program.sizes)),
        betas=(config.beta1, config.beta2),
    )
    loss_fn = ae_jax.denoising_loss(config.noise) if config.noise else ae_jax.reconstruction_loss
    for epoch in (1, 2):
        state, losses, _ = train(program, state, epoch_key(config, epoch))
        key = jax.random.fold_in(epochs_key, epoch)
        expected, metrics = ae_jax.train_epoch(expected, images(), key, loss_fn=loss_fn)
        assert np.average(losses, weights=program.sizes) == pytest.approx(float(metrics["loss"]), rel=1e-5)
    assert largest_difference(state.params, expected.params) <= 1e-6  # the same operations, fused differently


def test_a_shorter_epoch_takes_the_first_steps_of_a_whole_one() -> None:
    whole, short = TrainConfig("linear"), TrainConfig("linear", steps_per_epoch=3)
    losses = {}
    for config in (whole, short):
        program, state = make_program(config)
        losses[config] = train(program, state, epoch_key(config, 1))[1]
    assert program.sizes.sum() == 192
    np.testing.assert_array_equal(losses[short], losses[whole][:3])


def test_every_setting_of_a_step_changes_the_parameters(digits: np.ndarray) -> None:
    options = (
        *({}, {"seed": 1}, {"init": "torch"}, {"init": "mean"}, {"noise": 0.1}, {"learning_rate": 1e-2}),
        *({"weight_decay": 0.1}, {"weight_decay": 0.1, "weight_decay_mode": "l2"}, {"beta1": 0.5}, {"beta2": 0.9}),
        *({"schedule": "cosine"}, {"warmup": 0.5}, {"optimizer": "muon"}, {"precision": "bfloat16"}),
        *({"activation": "tanh"}, {"loss": "cross-entropy"}, {"loss": "cross-entropy", "noise": 0.1}),
    )
    results = set()
    for option in options:
        config = TrainConfig("linear", hidden=(8,), epochs=1, **option)
        state, step = initial_state(config, digits), ae_jax.make_train_step(run_loss(config))
        for batch in ae_jax.batches(digits[:192]):
            state, _ = step(state, batch, key=epoch_key(config, 1) if config.noise else None)
        results.add(np.asarray(state.params["decoder_1"]["bias"]).tobytes())
    assert len(results) == len(options)


def rates(num_steps: int, **settings: object) -> list[float]:
    factor = schedule(TrainConfig(**settings), num_steps)
    return [0.5 * float(factor(step)) if factor else 0.5 for step in range(num_steps + 1)]


def test_the_learning_rate_follows_warmup_and_decay() -> None:
    assert rates(100) == [0.5] * 101
    both = rates(100, schedule="cosine", warmup=0.2)
    np.testing.assert_allclose(both[:21], np.linspace(0, 0.5, 21), rtol=1e-6)
    np.testing.assert_allclose(both[20:], 0.25 * (1 + np.cos(np.linspace(0, np.pi, 81))), atol=1e-7)
    for warmup, points in {0.0: [0, 0, 100], 0.2: [0, 20, 100]}.items():
        linear = np.interp(range(101), points, [0 if warmup else 0.5, 0.5, 0])
        np.testing.assert_allclose(rates(100, schedule="linear", warmup=warmup), linear, atol=1e-7)
    assert rates(3, warmup=1.0) == pytest.approx([0, 0.25, 0.5, 0.5])
    assert rates(3, schedule="cosine", warmup=1.0) == pytest.approx([0, 0.25, 0.5, 0])
    assert rates(1, schedule="cosine", warmup=1.0)[0] == 0.5  # a single step is not spent at a rate of 0


@pytest.mark.parametrize("output", ["sigmoid", "tanh"])
def test_init_mean_centres_the_output_on_the_mean_pixel(output: str, digits: np.ndarray) -> None:
    means = {
        init: float(
            ae_jax.reconstruct(initial_state(TrainConfig("linear", output=output, init=init), digits), digits).mean()
        )
        for init in ("flax", "mean")
    }
    mean_pixel = digits.mean() / 255
    assert abs(means["mean"] - mean_pixel) < 0.03 < abs(means["flax"] - mean_pixel)
