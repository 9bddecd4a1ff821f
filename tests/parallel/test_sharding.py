import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.data.batching import ResidentBatches, epoch_order
from ae_jax.errors import InputError
from ae_jax.models.autoencoders import MODELS
from ae_jax.parallel.mesh import make_mesh
from ae_jax.parallel.sharded_steps import make_sharded_steps
from ae_jax.parallel.sharding import replicate
from ae_jax.runs.program import make_test_loss
from ae_jax.system.cpu import num_cores
from tests.support.devices import needs_cpu, needs_devices
from tests.support.outcomes import largest_difference

BATCH = 64
NUM_STEPS = 5  # 300 = 4 × 64 + 44


def mesh_of(num_devices: int) -> jax.sharding.Mesh:
    needs_devices(num_devices)
    return make_mesh(num_devices, batch_size=BATCH, images_per_core=None)


# 64 and the last batch's 44 are no multiples of 3, and 44 is none of 8
@pytest.mark.parametrize(
    ("num_devices", "arch"), [(1, "linear"), (2, "linear"), (8, "linear"), (3, "conv"), (4, "conv"), (3, "conv-pool")]
)
def test_multi_device_epoch_matches_a_single_device_epoch(arch: str, num_devices: int, digits: np.ndarray) -> None:
    mesh = mesh_of(num_devices)
    key = jax.random.key(1)
    tx = optax.sgd(0.5)  # Adam would amplify rounding where gradients are close to 0
    start = ae_jax.create_train_state(MODELS[arch](), jax.random.key(0), tx=tx)
    expected, metrics = ae_jax.train_epoch(start, digits, key, BATCH)
    batches = ResidentBatches(digits, epoch_order(key, len(digits)))
    arguments = replicate(mesh, (start, jnp.zeros(NUM_STEPS), batches))
    state, losses = make_sharded_steps(mesh, BATCH)(*arguments, 0, NUM_STEPS, None)
    assert int(state.step) == NUM_STEPS
    assert largest_difference(state.params, expected.params) <= 2e-6  # gradients are summed in another order
    assert np.average(losses, weights=[64, 64, 64, 64, 44]) == pytest.approx(float(metrics["loss"]), rel=1e-5)
    expected_loss = float(ae_jax.evaluate(expected, digits)["loss"])
    assert make_test_loss(mesh, digits, state, BATCH)(state) == pytest.approx(expected_loss, rel=1e-5)


def test_step_has_one_all_reduce_or_none_on_a_single_device(digits: np.ndarray) -> None:
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    for num_devices, expected in {1: 0, 2: 1}.items():
        mesh = mesh_of(num_devices)
        arguments = replicate(mesh, (state, jnp.zeros(NUM_STEPS), ResidentBatches(digits, jnp.arange(len(digits)))))
        program = make_sharded_steps(mesh, BATCH).lower(*arguments, 0, NUM_STEPS, None).as_text()
        assert program.count('"stablehlo.all_reduce"') == expected


def test_sharded_steps_donate_the_state_but_not_the_images(digits: np.ndarray) -> None:
    mesh = mesh_of(2)
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    state, losses, batches = replicate(
        mesh, (state, jnp.zeros(NUM_STEPS), ResidentBatches(digits, jnp.arange(len(digits))))
    )
    make_sharded_steps(mesh, BATCH)(state, losses, batches, 0, 1, None)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert not batches.images.is_deleted()


def test_invalid_device_counts_raise_errors_with_the_reason() -> None:
    with pytest.raises(InputError, match=r"--devices 3 cannot share a batch of 2; make --batch-size larger"):
        make_mesh(3, batch_size=2, images_per_core=None)
    with pytest.raises(InputError, match=rf"--devices 999: JAX has {len(jax.local_devices())} here"):
        make_mesh(999, batch_size=1000, images_per_core=None)


@needs_cpu
def test_auto_uses_another_core_only_if_its_shard_is_large_enough() -> None:
    cores = min(num_cores(), 4)
    for batch_size, expected in {64: min(cores, 4), 32: min(cores, 2), 31: 1, 1: 1}.items():
        assert make_mesh("auto", batch_size=batch_size, images_per_core=16).size == expected
    assert make_mesh("auto", batch_size=64, images_per_core=None).size == 1
