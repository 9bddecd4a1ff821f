"""Batches of any structure, reported terms, and modules of the user's own, in every training function."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax
from ae_jax.parallel.steps import compile_evaluate, compile_program, replicate
from tests.parallel.test_devices import mesh_of
from tests.support.outcomes import largest_difference

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (150, 8, 8, 3), np.uint8)
LABELS = RANDOM.integers(0, 10, 150).astype(np.int32)
BATCHES = {
    "labelled": (PIXELS, LABELS),
    "dict": {"image": PIXELS, "label": LABELS},
    "float32": RANDOM.normal(size=(150, 8, 8, 3)).astype(np.float32),
    "sequence": RANDOM.normal(size=(150, 17, 5)).astype(np.float32),
}
KEY = jax.random.key(1)


class Reconstruction(nn.Module):
    """A linear autoencoder of arrays of any shape."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        flat = x.reshape(len(x), -1)
        return nn.Dense(flat.shape[1])(nn.Dense(4)(flat)).reshape(x.shape)


def images_of(batch: Any) -> Any:
    """The leaf of a batch that is no labels."""
    return max(jax.tree.leaves(batch), key=lambda leaf: leaf.ndim)


def loss(model: nn.Module, params: Any, batch: Any) -> Any:
    images = images_of(batch)
    error = jnp.square(model.apply({"params": params}, images) - images).mean(range(1, images.ndim))
    labels = [leaf for leaf in jax.tree.leaves(batch) if leaf.ndim == 1]
    return error, {"label": sum(labels, start=jnp.zeros(len(error)))}


@pytest.fixture(params=BATCHES)
def data(request: pytest.FixtureRequest) -> Any:
    return BATCHES[request.param]


@pytest.fixture
def state(data: Any) -> ae_jax.TrainState:
    return ae_jax.create_train_state(Reconstruction(), KEY, inputs=images_of(data)[:1], tx=optax.sgd(0.1))


@pytest.mark.usefixtures("unchecked")
def test_an_epoch_on_batches_of_any_structure_is_its_steps_on_one_device_and_on_four(
    data: Any, state: ae_jax.TrainState
) -> None:
    epoch, metrics = ae_jax.train_epoch(state, data, KEY, loss_fn=loss)
    expected, sums = state, np.zeros(2)
    for batch in ae_jax.batches(data, KEY):
        images = images_of(batch)
        assert jax.tree.structure(batch) == jax.tree.structure(data)
        assert images.dtype == jnp.float32
        expected, each = ae_jax.make_train_step(loss)(expected, batch)
        sums += len(images) * np.array([each["loss"], each["label"]])
    assert largest_difference(epoch.params, expected.params) <= 1e-5  # sums are fused in another order
    np.testing.assert_allclose([metrics["loss"], metrics["label"]], sums / 150, rtol=1e-5)
    mesh = mesh_of(4)
    start = replicate(mesh, jax.device_get(state))
    program, evaluate = compile_program(mesh, data, start, 64, loss_fn=loss), compile_evaluate(mesh, data, start, loss)
    *_, (trained, step_metrics, _) = program.train_epoch(start, KEY)
    assert largest_difference(trained.params, expected.params) <= 1e-5
    np.testing.assert_allclose(np.average(step_metrics["label"], weights=program.sizes), metrics["label"], rtol=1e-5)
    np.testing.assert_allclose(evaluate(trained)["loss"], ae_jax.evaluate(epoch, data, loss_fn=loss)["loss"], rtol=1e-4)


@pytest.mark.usefixtures("unchecked")
def test_fit_is_its_epochs_and_evaluate_the_mean_of_the_batches() -> None:
    data = BATCHES["labelled"]
    state = ae_jax.create_train_state(Reconstruction(), KEY, inputs=PIXELS[:1])
    fitted, metrics = ae_jax.fit(state, data, KEY, num_epochs=2, loss_fn=loss)
    for epoch in (1, 2):
        state, each = ae_jax.train_epoch(state, data, jax.random.fold_in(KEY, epoch), loss_fn=loss)
        np.testing.assert_allclose(metrics["label"][epoch - 1], each["label"], rtol=1e-5)
    assert largest_difference(fitted.params, state.params) <= 1e-5
    whole = ae_jax.eval_step(state, data, loss_fn=loss)
    for batch_size in (7, 64, 150):
        means = ae_jax.evaluate(state, data, batch_size, loss_fn=loss)
        assert means["label"] == pytest.approx(LABELS.mean(), rel=1e-5)
        assert means["loss"] == pytest.approx(float(whole["loss"]), rel=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_a_dataset_is_a_batch_of_images_and_labels(digits: np.ndarray) -> None:
    labels = np.arange(len(digits), dtype=np.int32)
    dataset = ae_jax.Dataset("own", digits, labels)
    for batch in ae_jax.batches(dataset, KEY):
        np.testing.assert_array_equal(batch.images, digits[batch.labels] / np.float32(255))


@pytest.mark.usefixtures("unchecked")
def test_leaves_that_differ_in_length_or_are_no_arrays_are_named() -> None:
    with pytest.raises(ValueError, match=r"150 examples in batch\[0\], 149 in batch\[1\]"):
        next(ae_jax.batches((PIXELS, LABELS[:149])))
    with pytest.raises(ValueError, match=r"batch\['label'\] must be an array with one entry per example, not a int"):
        next(ae_jax.batches({"image": PIXELS, "label": 3}))


def noise(model: object, params: object, images: jax.Array, keys: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.normal)(keys)


def test_evaluate_gives_a_stochastic_loss_a_key_per_example(digits: np.ndarray) -> None:
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), KEY)
    mean = float(ae_jax.evaluate(state, digits, loss_fn=noise, key=KEY)["loss"])
    assert 0 < abs(mean) < 5 / len(digits) ** 0.5  # five standard errors; equal keys would give about 1
    assert mean == float(ae_jax.evaluate(state, digits, loss_fn=noise, key=KEY)["loss"])


@pytest.mark.usefixtures("unchecked")
def test_the_step_reaches_the_loss_without_a_new_compilation() -> None:
    traces = []

    def annealed(model: nn.Module, params: Any, images: jax.Array, step: jax.Array) -> Any:
        traces.append(step)
        return step * ae_jax.reconstruction_loss(model, params, images), {"step": jnp.full(len(images), step)}

    state = ae_jax.create_train_state(Reconstruction(), KEY, inputs=PIXELS[:1])
    state, metrics = ae_jax.train_epoch(state, PIXELS, KEY, loss_fn=annealed)
    count = len(traces)
    assert metrics["step"] == pytest.approx((0 * 64 + 1 * 64 + 2 * 22) / 150)
    _, metrics = ae_jax.train_epoch(state, PIXELS, KEY, loss_fn=annealed)
    assert metrics["step"] == pytest.approx(3 + (0 * 64 + 1 * 64 + 2 * 22) / 150)
    assert len(traces) == count
