"""Data parallelism over the devices of one process: the results of one device, up to rounding."""

import itertools

import jax
import numpy as np
import optax
import pytest

import ae_jax
from ae_jax.data.batching import epoch_order
from ae_jax.models.autoencoders import MODELS
from ae_jax.parallel.mesh import make_mesh
from ae_jax.parallel.steps import compile_evaluate, compile_program, replicate
from ae_jax.system import num_cores
from tests.support.devices import needs_cpu, needs_devices
from tests.support.outcomes import largest_difference

KEY = jax.random.key(1)


def mesh_of(num_devices: int) -> jax.sharding.Mesh:
    needs_devices(num_devices)
    return make_mesh(num_devices, batch_size=64, images_per_core=None)


# 300 = 4 × 64 + 44; neither 64 nor 44 is a multiple of 3
@pytest.mark.parametrize(
    ("num_devices", "arch", "noise"),
    [(1, "linear", 0.0), (3, "linear", 0.5), (3, "conv-pool", 0.0), (4, "conv", 0.0)],
)
def test_epoch_and_evaluation_on_several_devices_match_those_on_one(
    num_devices: int, arch: str, noise: float, digits: np.ndarray
) -> None:
    mesh, loss = mesh_of(num_devices), ae_jax.denoising_loss(noise) if noise else ae_jax.reconstruction_loss
    tx = optax.sgd(0.5)  # Adam would amplify rounding where gradients are close to 0
    start = ae_jax.create_train_state(MODELS[arch](), jax.random.key(0), tx=tx)
    expected, metrics = ae_jax.train_epoch(start, digits, KEY, loss_fn=loss)
    state = replicate(mesh, jax.tree.map(np.asarray, start))
    program, evaluate = compile_program(mesh, digits, state, 64, loss_fn=loss), compile_evaluate(mesh, digits, state)
    *_, (state, step_metrics, num_steps) = program.train_epoch(state, KEY)
    assert int(state.step) == num_steps == 5
    assert largest_difference(state.params, expected.params) <= 2e-6  # gradients are summed in another order
    assert np.average(step_metrics["loss"], weights=program.sizes) == pytest.approx(float(metrics["loss"]), rel=1e-5)
    assert evaluate(state)["loss"] == pytest.approx(float(ae_jax.evaluate(expected, digits)["loss"]), rel=1e-5)


@pytest.mark.optimised
def test_lengths_of_segments_change_no_bit(digits: np.ndarray) -> None:
    mesh = mesh_of(2)
    start = jax.device_get(ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0)))
    program = compile_program(mesh, digits, replicate(mesh, start), 64)
    order, noise = replicate(mesh, (epoch_order(KEY, len(digits)), KEY))

    def run(*bounds: int) -> tuple[ae_jax.TrainState, dict[str, jax.Array]]:
        state, metrics = replicate(mesh, (start, {"loss": np.zeros(5, np.float32)}))
        for first, last in itertools.pairwise(bounds):
            state, metrics = program.run_steps(state, metrics, program.data, order, first, last, noise)
        return state, metrics

    whole = run(0, 5)
    jax.tree.map(np.testing.assert_array_equal, run(0, 2, 5), whole)
    jax.tree.map(np.testing.assert_array_equal, run(0, 1, 2, 3, 4, 5), whole)


def test_step_has_one_all_reduce_or_none_on_a_single_device_and_donates_the_state(digits: np.ndarray) -> None:
    for num_devices in (1, 2):
        mesh = mesh_of(num_devices)
        start = jax.device_get(ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0)))
        state = replicate(mesh, start)
        program = compile_program(mesh, digits, state, 64)
        assert program.run_steps.as_text().count(" all-reduce(") == num_devices - 1
        next(program.train_epoch(state, KEY))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
        assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(program.data))


def test_invalid_device_counts_raise_errors_with_the_reason() -> None:
    with pytest.raises(ae_jax.InputError, match="3 devices cannot share a batch of 2; make `batch_size` larger"):
        make_mesh(3, batch_size=2, images_per_core=None)
    with pytest.raises(ae_jax.InputError, match=rf"JAX has {len(jax.local_devices())} devices here .*, not 999"):
        make_mesh(999, batch_size=1000, images_per_core=None)


@needs_cpu
def test_auto_uses_another_core_only_if_its_shard_is_large_enough() -> None:
    cores = min(num_cores(), 4)
    for batch_size, expected in {64: min(cores, 4), 32: min(cores, 2), 31: 1, 1: 1}.items():
        assert make_mesh("auto", batch_size=batch_size, images_per_core=16).size == expected
    assert make_mesh("auto", batch_size=64, images_per_core=None).size == 1
