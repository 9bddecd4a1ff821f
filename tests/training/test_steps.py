import functools
import itertools

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import numpy as jnp

import ae_jax
from ae_jax.data.batching import ResidentBatches
from ae_jax.training.steps import run_steps
from tests.support.outcomes import largest_difference

MODELS = {"linear": ae_jax.LinearAutoencoder, "conv": ae_jax.ConvAutoencoder}


def bit_equal(a: ae_jax.TrainState, b: ae_jax.TrainState) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


class CountedLoss:
    """The reconstruction loss with a count of its traces: JAX traces a function once per compiled program."""

    def __init__(self) -> None:
        self.traces = 0

    def __call__(self, model: nn.Module, params: dict, images: jax.Array) -> jax.Array:
        self.traces += 1
        return ae_jax.reconstruction_loss(model, params, images)


@pytest.mark.parametrize("arch", MODELS)
def test_train_epoch_matches_a_loop_over_train_step(arch: str, digits: np.ndarray) -> None:
    start = ae_jax.create_train_state(MODELS[arch](), jax.random.key(0))
    state, losses = start, []
    for images in ae_jax.batches(digits, jax.random.key(1), batch_size=64):
        state, metrics = ae_jax.train_step(state, images)
        losses.append(float(metrics["loss"]) * len(images))
    epoch, epoch_metrics = ae_jax.train_epoch(start, digits, jax.random.key(1), batch_size=64)
    assert int(epoch.step) == int(state.step) == 5  # 300 = 4 × 64 + 44
    # The same float32 operations, which XLA fuses in another order, and for which it chooses other kernels of a GPU:
    # where a gradient nearly vanishes, Adam turns that into steps of up to the learning rate.
    assert largest_difference(epoch.params, state.params) <= (1e-6 if jax.default_backend() == "cpu" else 5e-3)
    assert abs(float(epoch_metrics["loss"]) - sum(losses) / len(digits)) <= 1e-6


@pytest.mark.parametrize("cuts", [[2], [1, 2, 3, 4]])
def test_epoch_in_segments_equals_the_whole_epoch_bit_for_bit(cuts: list[int], digits: np.ndarray) -> None:
    start = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    order = jax.random.permutation(jax.random.key(1), len(digits))
    loss = CountedLoss()
    jitted = jax.jit(functools.partial(run_steps, batch_size=64, loss_fn=loss))

    def run(bounds: list[int]) -> tuple[ae_jax.TrainState, jax.Array]:
        state, losses = start, jnp.zeros(5)
        for first, last in itertools.pairwise(bounds):
            state, losses = jitted(state, losses, ResidentBatches(digits, order), first, last)
        return state, losses

    whole, whole_losses = run([0, 5])
    traces = loss.traces
    segments, losses = run([0, *cuts, 5])
    assert bit_equal(whole, segments)
    assert np.array_equal(whole_losses, losses)
    assert loss.traces == traces


class Tally(nn.Module):
    """A model whose parameters count its training images: with SGD at rate 1, the sum of weights per image."""

    num_images: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        tally = self.param("tally", nn.initializers.zeros, (self.num_images,))
        high, low = jnp.round(255 * images[:, 0, :2, 0]).astype(jnp.int32).T
        return tally[256 * high + low]


def tally_loss(model: nn.Module, params: dict, images: jax.Array) -> jax.Array:
    return -model.apply({"params": params}, images)


def test_epoch_of_60000_images_takes_938_steps_and_visits_each_once() -> None:
    n = 60_000
    images = np.zeros((n, 28, 28, 1), np.uint8)
    images[:, 0, :2, 0] = np.stack(np.divmod(np.arange(n), 256), axis=1)
    state = ae_jax.create_train_state(Tally(n), jax.random.key(0), tx=optax.sgd(1.0))
    state, _ = ae_jax.train_epoch(state, images, jax.random.key(1), batch_size=64, loss_fn=tally_loss)
    assert int(state.step) == 938
    weights, counts = np.unique(np.asarray(state.params["tally"]), return_counts=True)
    assert weights.tolist() == [1 / 64, 1 / 32]  # an image in a batch of 64, and in the last one of 32
    assert counts.tolist() == [937 * 64, 32]


def test_batch_size_above_the_dataset_size_gives_one_full_batch(digits: np.ndarray) -> None:
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    large, large_metrics = ae_jax.train_epoch(state, digits, jax.random.key(1), batch_size=10**9)
    whole, whole_metrics = ae_jax.train_epoch(state, digits, jax.random.key(1), batch_size=len(digits))
    assert int(large.step) == 1
    assert bit_equal(large, whole)
    assert large_metrics["loss"] == whole_metrics["loss"]


def test_zero_weight_images_do_not_affect_the_step(digits: np.ndarray) -> None:
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), tx=optax.sgd(1.0))
    images = ae_jax.normalise(digits[:10])
    short, short_metrics = ae_jax.train_step(state, images[:6])
    weights = (jnp.arange(10) < 6).astype(jnp.float32)
    filled, filled_metrics = ae_jax.train_step(state, images, weights)
    assert largest_difference(short.params, filled.params) <= 1e-6  # sums of 6 and of 10 rows
    assert abs(float(short_metrics["loss"] - filled_metrics["loss"])) <= 1e-7


def test_train_step_recompiles_only_for_another_model() -> None:
    loss = CountedLoss()
    step = ae_jax.make_train_step(loss)
    images = jnp.zeros((8, 28, 28, 1))
    state, _ = step(ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0)), images)
    traces = loss.traces
    step(state, images)  # its own result
    other = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(5))  # a second model, optimizer, state
    step(other, images)
    faster = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), learning_rate=1.0, weight_decay=0)
    step(faster, images)
    ae_jax.make_train_step(loss)(state, images)
    assert loss.traces == traces > 0
    assert ae_jax.make_train_step(ae_jax.reconstruction_loss) is ae_jax.train_step
    another = ae_jax.LinearAutoencoder(output="tanh")
    step(ae_jax.create_train_state(another, jax.random.key(0), params=state.params), images)
    assert loss.traces > traces  # positive control: another model is another program


def test_train_step_is_pure_and_donates_nothing(digits: np.ndarray) -> None:
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    images = ae_jax.normalise(digits[:8])
    first, first_metrics = ae_jax.train_step(state, images)
    second, second_metrics = ae_jax.train_step(state, images)
    assert bit_equal(first, second)
    assert first_metrics["loss"] == second_metrics["loss"]
    assert int(state.step) == 0
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))  # nothing is donated
    assert not images.is_deleted()


def test_custom_loss_is_minimised(digits: np.ndarray) -> None:
    def absolute_code(model: nn.Module, params: dict, images: jax.Array) -> jax.Array:
        return jnp.abs(model.apply({"params": params}, images, method="encode")).sum(axis=1)

    step = ae_jax.make_train_step(absolute_code)
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), learning_rate=1e-2)
    images = ae_jax.normalise(digits)
    before = ae_jax.eval_step(state, images, loss_fn=absolute_code)["loss"]
    for _ in range(20):
        state, _ = step(state, images)
    assert ae_jax.eval_step(state, images, loss_fn=absolute_code)["loss"] < before / 2


def test_invalid_training_inputs_raise_errors_with_the_reason(digits: np.ndarray) -> None:
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    with pytest.raises(ValueError, match=r"one value per image, f32\[300\], not f32\[\]"):
        ae_jax.make_train_step(lambda *args: ae_jax.reconstruction_loss(*args).mean())(state, ae_jax.normalise(digits))
    with pytest.raises(ValueError, match="batches of 64 from 0 images"):
        ae_jax.train_epoch(state, digits[:0], jax.random.key(0))
    with pytest.raises(ValueError, match="batches of 0 from 300 images"):
        ae_jax.train_epoch(state, digits, jax.random.key(0), batch_size=0)
    with pytest.raises(ValueError, match="unknown weight_decay_mode 'none'"):
        ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0), weight_decay_mode="none")


def test_evaluate_is_the_mean_over_all_images_for_any_batch_size(digits: np.ndarray) -> None:
    state = ae_jax.create_train_state(ae_jax.LinearAutoencoder(), jax.random.key(0))
    recons = ae_jax.reconstruct(state, digits)
    expected = float(np.mean((np.asarray(recons, np.float64) - digits / 255) ** 2))
    for batch_size in (7, 64, 300, 1000):
        loss = float(ae_jax.evaluate(state, digits, batch_size)["loss"])
        assert loss == pytest.approx(expected, rel=1e-5)  # float32 sums of 784 and of 300 numbers
    assert float(ae_jax.eval_step(state, ae_jax.normalise(digits))["loss"]) == pytest.approx(expected, rel=1e-5)
