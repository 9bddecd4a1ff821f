"""Epochs, complete trainings and evaluations, as compiled functions of arrays."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.runs.train import train
from tests.support.outcomes import largest_difference


@pytest.fixture(scope="module")
def state() -> ae_jax.TrainState:
    return ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))


@pytest.mark.parametrize("model", [ae_jax.LinearAutoencoder(), ae_jax.ConvAutoencoder()])
def test_train_epoch_matches_a_loop_over_train_step(model: nn.Module, digits: np.ndarray) -> None:
    start = state = ae_jax.create_train_state(model, jax.random.key(0))
    losses = 0.0
    for images in ae_jax.batches(digits, jax.random.key(1), batch_size=64):
        state, metrics = ae_jax.train_step(state, images)
        losses += float(metrics["loss"]) * len(images)
    epoch, epoch_metrics = ae_jax.train_epoch(start, digits, jax.random.key(1), batch_size=64)
    assert int(epoch.step) == int(state.step) == 5  # 300 = 4 × 64 + 44
    # The same float32 operations, which XLA fuses in another order, and for which it chooses other kernels of a GPU:
    # where a gradient nearly vanishes, Adam turns that into steps of up to the learning rate.
    assert largest_difference(epoch.params, state.params) <= (1e-6 if jax.default_backend() == "cpu" else 5e-3)
    assert float(epoch_metrics["loss"]) == pytest.approx(losses / len(digits), abs=1e-6)


class Tally(nn.Module):
    """A model whose parameters count its training images: with SGD at rate 1, the sum of weights per image."""

    num_images: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        tally = self.param("tally", nn.initializers.zeros, (self.num_images,))
        high, low = jnp.round(255 * images[:, 0, :2, 0]).astype(jnp.int32).T
        return tally[256 * high + low]


def test_epoch_of_60000_images_takes_938_steps_and_visits_each_once() -> None:
    n = 60_000
    images = np.zeros((n, 28, 28, 1), np.uint8)
    images[:, 0, :2, 0] = np.stack(np.divmod(np.arange(n), 256), axis=1)
    state = ae_jax.create_train_state(Tally(n), jax.random.key(0), tx=optax.sgd(1.0))

    def loss(model: nn.Module, params: dict, images: jax.Array) -> jax.Array:
        return -model.apply({"params": params}, images)

    state, _ = ae_jax.train_epoch(state, images, jax.random.key(1), batch_size=64, loss_fn=loss)
    assert int(state.step) == 938
    weights, counts = np.unique(np.asarray(state.params["tally"]), return_counts=True)
    assert weights.tolist() == [1 / 64, 1 / 32]  # an image in a batch of 64, and in the last one of 32
    assert counts.tolist() == [937 * 64, 32]


def test_batch_size_above_the_dataset_size_gives_one_full_batch(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    large = ae_jax.train_epoch(state, digits, jax.random.key(1), batch_size=10**9)
    assert int(large[0].step) == 1
    whole = ae_jax.train_epoch(state, digits, jax.random.key(1), batch_size=len(digits))
    jax.tree.map(np.testing.assert_array_equal, large, whole)


def test_an_epoch_needs_images_and_a_batch_size(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    with pytest.raises(ValueError, match="the batch is empty"):
        ae_jax.train_epoch(state, digits[:0], jax.random.key(0))
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, not 0"):
        ae_jax.train_epoch(state, digits, jax.random.key(0), batch_size=0)


def test_evaluate_is_the_mean_over_all_images_for_any_batch_size(state: ae_jax.TrainState, digits: np.ndarray) -> None:
    recons = ae_jax.reconstruct(state, digits)
    expected = float(np.mean((np.asarray(recons, np.float64) - digits / 255) ** 2))
    for batch_size in (7, 64, 300, 1000):
        loss = float(ae_jax.evaluate(state, digits, batch_size)["loss"])
        assert loss == pytest.approx(expected, rel=1e-5)  # float32 sums of 784 and of 300 numbers
    assert float(ae_jax.eval_step(state, ae_jax.to_float(digits))["loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("environment")
def test_vmapped_fit_matches_command_line_runs_of_these_seeds_and_rates(own_images: Path) -> None:
    rates, images = [1e-3, 1e-2], ae_jax.load_dataset(str(own_images), "train").images

    def fit(seed: jax.Array, rate: jax.Array) -> tuple[ae_jax.TrainState, dict[str, jax.Array]]:
        init_key, key = jax.random.split(jax.random.key(seed))
        state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), init_key, learning_rate=rate)
        return ae_jax.fit(state, images, key, num_epochs=2)

    states, metrics = jax.jit(jax.vmap(fit))(jnp.arange(2), jnp.array(rates))
    assert metrics["loss"].shape == (2, 2)
    for seed, rate in enumerate(rates):
        run = train(TrainConfig("linear", seed=seed, learning_rate=rate, epochs=2, dataset=str(own_images), devices=1))
        own = jax.tree.map(lambda leaf, i=seed: leaf[i], states.params)
        # vmap changes the order of sums, and Adam divides gradients by their size: of those near 0, rounding decides.
        assert largest_difference(own, ae_jax.load_model(run).params) <= 0.1 * rate
