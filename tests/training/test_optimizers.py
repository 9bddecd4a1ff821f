import functools

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.training.optimizers import scale_by_adam, scale_by_muon
from tests.support.arrays import random_array, relative_difference


@pytest.mark.parametrize("betas", [(0.9, 0.999), (jnp.float32(0.9), jnp.float32(0.999)), (0.0, 0.5)])
def test_a_constant_gradient_gives_steps_of_length_1(betas: tuple) -> None:
    adam = scale_by_adam(*betas, eps=0.0)
    gradient = jnp.array([1.3, -0.2, 1e-3])
    state = adam.init(gradient)
    for _ in range(50):
        step, state = adam.update(gradient, state)
        np.testing.assert_allclose(step, [1, -1, 1], rtol=1e-6)


def test_moments_keep_the_dtype_of_the_parameters() -> None:
    model = ae_jax.LinearAutoencoder()
    state = ae_jax.create_train_state(model, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, jnp.bfloat16), state.params)
    state = ae_jax.create_train_state(model, jax.random.key(0), params=params)
    images, key = np.zeros((8, 28, 28, 1), np.uint8), jax.random.key(1)
    after, _ = jax.eval_shape(lambda state: ae_jax.train_epoch(state, images, key, 4), state)
    assert jax.tree.map(lambda leaf: leaf.dtype, after) == jax.tree.map(lambda leaf: leaf.dtype, state)


def last_update(tx: optax.GradientTransformation, gradients: list[jax.Array]) -> np.ndarray:
    state = tx.init(gradients[0])
    for gradient in gradients:
        update, state = jax.jit(tx.update)(gradient, state, gradients[0])
    return np.asarray(update)


@pytest.mark.parametrize("shape", [(144, 32), (12, 64)])
def test_a_matrix_is_orthogonalised_as_by_optax(shape: tuple[int, int]) -> None:
    transformations = scale_by_muon(0.9, 0.95), optax.contrib.scale_by_muon(ns_steps=3, beta=0.9)
    updates = [last_update(tx, [random_array(*shape)]) for tx in transformations]
    own, reference = (update / np.linalg.norm(update) for update in updates)
    assert relative_difference(own, reference) <= 1e-5  # of three iterations with the same polynomial in another form


def test_the_momentum_is_nesterovs() -> None:
    first, second = random_array(9, 16), random_array(9, 16, seed=1)
    tx = scale_by_muon(0.9, 0.95)
    expected = last_update(tx, [second + 0.9 * (second + 0.9 * first)])
    assert relative_difference(last_update(tx, [first, second]), expected) <= 1e-5


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (7, 7, 32, 64), (64, 12)])
def test_an_update_is_almost_orthogonal_and_as_large_as_those_of_adam(shape: tuple[int, ...]) -> None:
    update = last_update(scale_by_muon(0.9, 0.95), [1e-4 * random_array(*shape)]).reshape(-1, shape[-1])
    values = np.linalg.svd(update, compute_uv=False) / (0.2 * max(update.shape) ** 0.5)
    assert 0.6 < values.min() < values.max() < 1.2
    assert 0.1 < np.sqrt(np.mean(update**2)) < 0.3


def test_biases_and_large_kernels_have_the_updates_of_adam() -> None:
    params = {"kernel": random_array(784, 128), "bias": random_array(128), "small": random_array(128, 64)}
    (own, adam) = (
        tx.update(params, tx.init(params))[0] for tx in (scale_by_muon(0.9, 0.95, 64), scale_by_adam(0.9, 0.95))
    )
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(own[name], adam[name])
    assert np.abs(own["small"] - adam["small"]).max() > 0.1


def test_a_gradient_of_zero_leaves_the_kernel_as_it_is() -> None:
    assert not last_update(scale_by_muon(0.9, 0.95), [jnp.zeros((9, 16))]).any()


def test_states_with_equal_settings_share_an_optimizer(unchecked: None) -> None:
    model = ae_jax.LinearAutoencoder()
    states = [
        ae_jax.create_train_state(model, jax.random.key(0), optimizer="muon", learning_rate=rate) for rate in (1e-3, 1)
    ]
    assert states[0].tx is states[1].tx
    with pytest.raises(ValueError, match="unknown optimizer 'sgd'"):
        ae_jax.create_train_state(model, jax.random.key(0), optimizer="sgd")


SMALL = ae_jax.LinearAutoencoder(hidden=(16,), activation="tanh")
OPTAX = {
    "polyak": optax.polyak_sgd(max_learning_rate=1.0),
    "plateau": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
    "line search": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=20)),
}


@pytest.mark.parametrize("name", OPTAX)
def test_an_optimizer_that_watches_the_loss_descends_as_in_a_loop_of_its_own(name: str, digits: np.ndarray) -> None:
    images = ae_jax.to_float(digits)
    tx = optax.with_extra_args_support(OPTAX[name])
    state = ae_jax.create_train_state(SMALL, jax.random.key(0), tx=tx)

    @jax.jit
    def step(params: dict, opt_state: optax.OptState) -> tuple[dict, optax.OptState, jax.Array]:
        def loss(params: dict) -> jax.Array:
            return ae_jax.reconstruction_loss(SMALL, params, images).mean()

        value, grad = jax.value_and_grad(loss)(params)
        updates, opt_state = tx.update(grad, opt_state, params, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(params, updates), opt_state, value

    params, opt_state, losses = state.params, state.opt_state, []
    for _ in range(6):
        state, metrics = ae_jax.train_step(state, images)
        params, opt_state, expected = step(params, opt_state)
        losses.append(float(metrics["loss"]))
        assert losses[-1] == pytest.approx(float(expected), rel=1e-4)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_an_optimizer_that_takes_nothing_of_the_loss_is_passed_nothing(digits: np.ndarray) -> None:
    tx = optax.contrib.sam(optax.sgd(0.1), optax.chain(optax.contrib.normalize(), optax.sgd(0.05)))
    state, losses = ae_jax.create_train_state(SMALL, jax.random.key(0), tx=tx), []
    for _ in range(4):
        state, metrics = ae_jax.train_step(state, ae_jax.to_float(digits[:16]))
        losses.append(float(metrics["loss"]))
    assert losses[2] < losses[0]  # every second step is one to an adversarial point


def test_an_optimizer_that_needs_more_says_so(digits: np.ndarray) -> None:
    def update(updates: dict, state: tuple, params: dict, *, hessian: jax.Array, **extra: object) -> tuple:
        return updates, state

    tx = optax.GradientTransformationExtraArgs(lambda params: (), update)
    state = ae_jax.create_train_state(SMALL, jax.random.key(0), tx=tx)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'hessian'"):
        ae_jax.train_step(state, ae_jax.to_float(digits[:4]))


def test_muon_takes_every_kernel_of_a_wide_model_unless_it_is_told_a_limit() -> None:
    model, key = ae_jax.LinearAutoencoder(hidden=(1000, 500, 250), latent_dim=30), jax.random.key(0)

    def labels(**settings: object) -> list[int]:
        make = functools.partial(ae_jax.create_train_state, model, key, optimizer="muon", **settings)
        state = jax.eval_shape(make)
        traces = optax.tree.get_all_with_path(state.opt_state, "trace")
        return [jnp.ndim(leaf) for _, trace in traces for leaf in jax.tree.leaves(trace)]

    assert labels() == [2] * 8
    assert labels(muon_max_side=64) == [2] * 2


def test_the_learning_rate_is_read_and_changed_in_the_state(digits: np.ndarray) -> None:
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), learning_rate=1e-2)
    assert float(optax.tree.get(state.opt_state, "learning_rate")) == np.float32(1e-2)
    stopped = state.replace(opt_state=optax.tree.set(state.opt_state, learning_rate=jnp.float32(0)))
    after, _ = ae_jax.train_step(stopped, ae_jax.to_float(digits[:8]))
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
