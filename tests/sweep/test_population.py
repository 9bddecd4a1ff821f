"""Population training: many runs as one program, each equal to the same run trained alone."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.runs.program import make_program, make_test_loss
from ae_jax.sweep.population import make_population, make_test_losses, population_mesh
from tests.support.devices import needs_devices
from tests.support.outcomes import largest_difference

EPOCHS = 2
NUM_DEVICES = min(2, len(jax.local_devices()))


def grid(arch: str, **settings: object) -> list[TrainConfig]:
    config = TrainConfig(arch=arch, devices="1", epochs=EPOCHS, **settings)
    return [dataclasses.replace(config, seed=seed, learning_rate=rate) for rate in (1e-3, 1e-2) for seed in (3, 4)][:3]


def trained_alone(config: TrainConfig, training_digits: np.ndarray) -> tuple[object, float]:
    program, state = make_program(config, training_digits)
    for epoch in range(1, EPOCHS + 1):
        state, _ = program.run_steps(state, program.no_losses(), program.order(epoch), 0, len(program.sizes))
    return jax.device_get(state.params), make_test_loss(program.mesh, training_digits, state)(state)


def trained_together(
    members: list[TrainConfig], training_digits: np.ndarray, num_devices: int, members_per_device: int
) -> tuple[object, list[float]]:
    mesh = population_mesh(num_devices, len(members))
    population, states = make_population(members, training_digits, mesh, members_per_device)
    losses, order = population.no_losses(), population.order(1)
    for first, last in ((0, 2), (2, len(population.sizes))):
        states, losses = population.run_steps(states, losses, order, first, last)
    states, _ = population.run_steps(states, losses, population.order(2), 0, len(population.sizes))
    return population.fetch(states.params), make_test_losses(population, training_digits, states)(states)


@pytest.mark.parametrize(
    ("arch", "settings", "layouts"),
    [
        ("linear", {"noise": 0.2, "schedule": "linear", "warmup": 0.3, "optimizer": "muon"}, [(1, 1), (1, 2)]),
        ("conv", {"weight_decay_mode": "l2", "weight_decay": 0.01}, [(2, 1)]),  # 3 members do not fill 2 devices
    ],
)
def test_population_member_equals_the_same_run_trained_alone(
    arch: str,
    settings: dict[str, object],
    layouts: list[tuple[int, int]],
    training_digits: np.ndarray,
) -> None:
    needs_devices(max(num_devices for num_devices, _ in layouts))
    members = grid(arch, **settings)
    alone = [trained_alone(member, training_digits) for member in members]
    for num_devices, members_per_device in layouts:
        params, test_losses = trained_together(members, training_digits, num_devices, members_per_device)
        assert len(test_losses) == len(members)
        tolerance = 0 if members_per_device == 1 else 1e-5  # vmap changes the order of sums
        for place, (expected, expected_loss) in enumerate(alone):
            assert test_losses[place] == pytest.approx(expected_loss, abs=1e-5)
            own = jax.tree.map(lambda leaf, place=place: leaf[place], params)
            assert largest_difference(own, expected) <= tolerance


def test_the_first_evaluation_compiles_nothing(training_digits: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    """Signals are deferred in the training loop: there, compilation would delay the exit."""
    members = grid("linear")
    population, states = make_population(members, training_digits, population_mesh(NUM_DEVICES, len(members)))
    with jax.log_compiles():
        test_losses = make_test_losses(population, training_digits, states)
        assert "Compiling" in caplog.text
        states, _ = population.run_steps(states, population.no_losses(), population.order(1), 0, 1)
        caplog.clear()
        test_losses(states)
    assert "Compiling" not in caplog.text


def test_diverging_member_does_not_affect_the_others(training_digits: np.ndarray) -> None:
    members = grid("linear")
    diverging = dataclasses.replace(members[0], learning_rate=1e38)
    params, test_losses = trained_together([members[0], diverging, members[1]], training_digits, NUM_DEVICES, 1)
    assert not np.isfinite(test_losses[1])
    others = [members[0], members[2], members[1]]
    expected, expected_losses = trained_together(others, training_digits, NUM_DEVICES, 1)
    assert [test_losses[0], test_losses[2]] == [expected_losses[0], expected_losses[2]]
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a[[0, 2]], b[[0, 2]]), params, expected))


def test_vmapped_fit_matches_runs_trained_alone(training_digits: np.ndarray) -> None:
    model = ae_jax.LinearAutoencoder()
    fit = functools.partial(ae_jax.fit, model=model, num_epochs=EPOCHS)
    config = TrainConfig(arch="linear", devices="1")
    members = [config, dataclasses.replace(config, seed=1, learning_rate=1e-2)]
    keys = jax.vmap(jax.random.key)(jnp.array([member.seed for member in members]))
    rates = jnp.array([member.learning_rate for member in members])
    states, metrics = jax.jit(jax.vmap(fit, in_axes=(0, None, 0)))(keys, training_digits, rates)
    assert metrics["loss"].shape == (2, EPOCHS)
    for place, member in enumerate(members):
        expected, _ = trained_alone(member, training_digits)
        own = jax.tree.map(lambda leaf, place=place: leaf[place], states.params)
        assert largest_difference(own, expected) <= 1e-5  # vmap changes the order of sums


def test_limited_memory_reduces_the_members_per_device(training_digits: np.ndarray) -> None:
    members = grid("linear")
    mesh = population_mesh(NUM_DEVICES, len(members))
    for memory, members_per_device in {2**40: 2, 0: 1}.items():
        population, _ = make_population(members, training_digits, mesh, members_per_device=2, memory=memory)
        assert population.members_per_device == members_per_device
