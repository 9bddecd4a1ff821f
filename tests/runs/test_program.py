import dataclasses

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.data.batching import batch_sizes
from ae_jax.runs.program import make_program
from ae_jax.runs.setup import schedule
from tests.support.outcomes import largest_difference
from tests.support.tiny_run import OneKernel


def rates(num_steps: int, **settings: object) -> list[float]:
    factor = schedule(TrainConfig(**settings), num_steps)
    return [0.5 * float(factor(step)) if factor else 0.5 for step in range(num_steps + 1)]


def test_learning_rate_follows_warmup_and_decay() -> None:
    assert rates(100) == [0.5] * 101
    rising = rates(100, warmup=0.2)
    np.testing.assert_allclose(rising[:21], np.linspace(0, 0.5, 21), rtol=1e-6)
    assert rising[20:] == [0.5] * 81
    cosine = rates(100, schedule="cosine")
    np.testing.assert_allclose(cosine, 0.25 * (1 + np.cos(np.linspace(0, np.pi, 101))), atol=1e-7)
    both = rates(100, schedule="cosine", warmup=0.2)
    np.testing.assert_allclose(both[:21], np.linspace(0, 0.5, 21), rtol=1e-6)
    np.testing.assert_allclose(both[20:], 0.25 * (1 + np.cos(np.linspace(0, np.pi, 81))), atol=1e-7)
    linear = rates(100, schedule="linear", warmup=0.2)
    np.testing.assert_allclose(linear, np.interp(range(101), [0, 20, 100], [0, 0.5, 0]), atol=1e-7)
    np.testing.assert_allclose(rates(100, schedule="linear"), np.linspace(0.5, 0, 101), atol=1e-7)
    assert rates(3, warmup=1.0) == pytest.approx([0, 0.25, 0.5, 0.5])
    assert rates(3, schedule="cosine", warmup=1.0) == pytest.approx([0, 0.25, 0.5, 0])
    assert rates(1, schedule="cosine", warmup=1.0)[0] == 0.5  # a single step is not spent at a rate of 0


# The same float32 operations, fused differently. With a second decay rate of 0.999 the bias corrections of optax.adamw
# cancel: the distance is 2.9e-6, and 6e-8 to the same optimizer with exact corrections. The images are random, as those
# of digits depend on the release of matplotlib, and in some a gradient nearly vanishes: Adam divides by its size.
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [({}, 5e-6), ({"schedule": "cosine", "warmup": 0.3, "beta1": 0.8, "beta2": 0.95}, 1e-6)],
)
def test_program_matches_training_with_optax_adamw(settings: dict[str, object], tolerance: float) -> None:
    images = np.random.default_rng(0).integers(0, 256, (270, 28, 28, 1), np.uint8)  # as many as `training_digits`
    config = TrainConfig(arch="linear", epochs=2, **settings)
    program, state = make_program(config, images)
    assert int(state.step) == 0
    factor = schedule(config, 2 * len(batch_sizes(len(images), 64))) or (lambda step: 1.0)
    betas = (config.beta1, config.beta2)
    tx = optax.adamw(lambda step: config.learning_rate * factor(step), *betas, weight_decay=config.weight_decay)
    init_key, shuffle_key = jax.random.split(jax.random.key(config.seed))
    expected = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), init_key, tx=tx)
    for epoch in (1, 2):
        state, _ = program.run_steps(state, program.no_losses(), program.order(epoch), 0, len(program.sizes))
        expected, _ = ae_jax.train_epoch(expected, images, jax.random.fold_in(shuffle_key, epoch))
    assert largest_difference(state.params, expected.params) <= tolerance


def test_every_training_setting_changes_the_result(training_digits: np.ndarray) -> None:
    options = (
        {},
        {"seed": 1},
        {"init": "torch"},
        {"init": "mean"},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "weight_decay_mode": "l2"},
        {"schedule": "cosine"},
        {"schedule": "linear"},
        {"optimizer": "muon"},
        {"steps_per_epoch": 2},
        {"warmup": 0.5},
        {"beta1": 0.5},
        {"beta2": 0.9},
    )
    losses = set()
    for option in options:
        program, state = make_program(TrainConfig(arch="linear", epochs=1, **option), training_digits)
        state, _ = program.run_steps(state, program.no_losses(), program.order(1), 0, len(program.sizes))
        losses.add(float(ae_jax.evaluate(state, training_digits)["loss"]))
    assert len(losses) == len(options)


@pytest.mark.parametrize("stream", [False, True])
def test_a_shorter_epoch_takes_the_first_steps_of_a_whole_one(stream: bool, training_digits: np.ndarray) -> None:
    config = TrainConfig(arch="linear", epochs=1)
    whole, state = make_program(config, training_digits)
    expected, _ = whole.run_steps(state, whole.no_losses(), whole.order(1), 0, 3)
    program, state = make_program(dataclasses.replace(config, steps_per_epoch=3), training_digits, stream=stream)
    assert (len(program.sizes), program.num_images) == (3, 192)
    state, _ = program.run_steps(state, program.no_losses(), program.order(1), 0, 3)
    assert largest_difference(state.params, expected.params) <= (1e-6 if stream else 0)


def test_the_initialisation_is_compiled_once_for_all_optimizers(caplog: pytest.LogCaptureFixture) -> None:
    class Fresh(OneKernel):
        """A model that no other test has initialised."""

    model, key = Fresh(), jax.random.key(0)
    with jax.log_compiles():
        ae_jax.create_train_state(model, key)
        assert "_init_params" in caplog.text
        caplog.clear()
        ae_jax.create_train_state(model, key, optimizer="muon", weight_decay_mode="l2", schedule=lambda step: 1.0)
    assert "_init_opt_state" in caplog.text
    assert "_init_params" not in caplog.text


@pytest.mark.parametrize("output", ["sigmoid", "tanh"])
def test_init_mean_centres_the_output_on_the_mean_pixel(output: str, training_digits: np.ndarray) -> None:
    means = {}
    for init in ("flax", "mean"):
        _, state = make_program(TrainConfig(arch="linear", output=output, init=init), training_digits)
        means[init] = float(jnp.mean(ae_jax.reconstruct(state, training_digits)))
    assert abs(means["mean"] - training_digits.mean() / 255) < 0.03 < abs(means["flax"] - training_digits.mean() / 255)
