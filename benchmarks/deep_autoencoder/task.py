"""The task, which is the same for every entry, and one training run.

| | |
|---|---|
| network | 784-1000-500-250-30-250-500-1000-784 (Hinton & Salakhutdinov 2006), 2,837,314 parameters |
| units | ReLU, linear code, sigmoid output |
| initialisation | flax: LeCun normal kernels (variance 1 / inputs), biases 0 |
| loss | binary cross-entropy, summed over the pixels, mean over the batch |
| data | MNIST, pixels in [0, 1]: 55,000 images to train, the last 5,000 training images to validate, 10,000 to test |
| batch | 1,000 images, a new order in each epoch of 55 steps |
| length | 550 steps (10 epochs) |
| precision | float32 |
| figure | squared error per image, summed over the pixels, mean over the images |
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Float, Float32, Int32

from ae_jax.data.batching import to_float
from ae_jax.data.datasets import load_dataset
from ae_jax.models.autoencoders import LinearAutoencoder
from ae_jax.training.losses import cross_entropy_loss, reconstruction_loss
from ae_jax.types import Params, Pixels, Scalar

NUM_PIXELS, LATENT_DIM = 784, 30
BATCH_SIZE, NUM_STEPS = 1000, 550
NUM_VALIDATION = 5000
MEASURE_EVERY = 11  # steps
TARGETS = (12.0, 10.0, 5.0)  # squared error per validation image

MakeOptimizer = Callable[..., optax.GradientTransformation]  # of the number of steps, and the entry's settings


class Split(NamedTuple):
    """MNIST's images, `u8[n, 28, 28, 1]`."""

    train: Pixels
    validation: Pixels
    test: Pixels


class Run(NamedTuple):
    """One training run, with measurements after every `MEASURE_EVERY` steps."""

    errors: Float[np.ndarray, "measurements"]  # squared error per validation image
    seconds: Float[np.ndarray, "measurements"]  # of training so far, without compilation and measurements
    params: Params  # after the last step


class BatchLoss(NamedTuple):
    """The training loss of parameters: cross-entropy in nats, summed over the pixels, mean over the images."""

    images: Float32[jax.Array, "n 28 28 1"]

    def __call__(self, params: Params) -> Scalar:
        return NUM_PIXELS * jnp.mean(cross_entropy_loss(NETWORK, params, self.images))

    def logits(self, params: Params) -> Float32[jax.Array, "n 28 28 1"]:
        """The logits of the reconstructions, whose cross-entropy with the images it is."""
        logits: Any = NETWORK.apply({"params": params}, self.images, method="logits")
        return logits


def load_split() -> Split:
    """Load MNIST, and hold out the last training images."""
    images = load_dataset("mnist").images
    return Split(images[:-NUM_VALIDATION], images[-NUM_VALIDATION:], load_dataset("mnist", "test").images)


NETWORK = LinearAutoencoder(latent_dim=LATENT_DIM, hidden=(1000, 500, 250))


def train(
    make_optimizer: MakeOptimizer,
    split: Split,
    seed: int,
    *,
    eval_params: Callable[[Any, Params], Params] | None = None,
    num_steps: int = NUM_STEPS,
) -> Run:
    """Train for `num_steps`, a multiple of `MEASURE_EVERY`; nothing that is measured has an effect on it.

    `update` of the optimizer gets the gradient, its state and the parameters, and where it takes them `value`, `grad`
    and `value_fn`, a `BatchLoss`. `eval_params(opt_state, params)` are the parameters to measure, if not those that
    are trained.
    """
    params = NETWORK.init(jax.random.key(seed), jnp.zeros((1, 28, 28, 1)))["params"]
    tx = optax.with_extra_args_support(make_optimizer(num_steps))
    carry = params, jax.jit(tx.init)(params)
    images, validation = jnp.asarray(split.train), jnp.asarray(split.validation)
    batches = _batches(len(images), seed, num_steps).reshape(-1, MEASURE_EVERY, BATCH_SIZE)
    segment = jax.jit(functools.partial(_train_segment, tx), donate_argnums=0)
    compiled = segment.lower(carry, images, batches[0]).compile()
    errors, seconds = [], []
    for rows in batches:
        start = time.perf_counter()
        carry = jax.block_until_ready(compiled(carry, images, rows))
        seconds.append(time.perf_counter() - start)
        params = eval_params(carry[1], carry[0]) if eval_params else carry[0]
        errors.append(squared_error(params, validation))
    return Run(np.array(errors), np.cumsum(seconds), params)


def squared_error(params: Params, images: Pixels) -> float:
    """The squared error of the reconstructions, summed over the pixels, mean over `u8[n, 28, 28, 1]`."""
    return _mean(reconstruction_loss, params, images)


def cross_entropy(params: Params, images: Pixels) -> float:
    """The cross-entropy in nats, summed over the pixels, mean over `u8[n, 28, 28, 1]`."""
    return _mean(cross_entropy_loss, params, images)


def _mean(per_image: Any, params: Params, images: Pixels) -> float:
    """The sum over the pixels of a loss that is a mean over them, mean over a multiple of 1,000 images."""
    blocks = np.split(np.asarray(images), len(images) // BATCH_SIZE)
    return NUM_PIXELS * float(np.mean([_block_mean(per_image, params, block) for block in blocks], dtype=np.float64))


@functools.partial(jax.jit, static_argnums=0)
def _block_mean(per_image: Any, params: Params, images: Pixels) -> Scalar:
    return jnp.mean(per_image(NETWORK, params, to_float(images)))


def _batches(num_images: int, seed: int, num_steps: int) -> Int32[np.ndarray, "steps batch"]:
    """The images of each step: every epoch visits all of them in a new order."""
    random = np.random.default_rng(seed)
    num_epochs = -(-num_steps * BATCH_SIZE // num_images)
    order = np.concatenate([random.permutation(num_images) for _ in range(num_epochs)])
    return order[: num_steps * BATCH_SIZE].reshape(num_steps, BATCH_SIZE).astype(np.int32)


def _train_segment(
    tx: Any, carry: tuple[Params, Any], images: jax.Array, rows: Int32[jax.Array, "steps n"]
) -> tuple[Params, Any]:
    def step(carry: tuple[Params, Any], rows: jax.Array) -> tuple[tuple[Params, Any], None]:
        params, opt_state = carry
        value_fn: Any = BatchLoss(to_float(images[rows]))
        value, grad = jax.value_and_grad(value_fn)(params)
        updates, opt_state = tx.update(grad, opt_state, params, value=value, grad=grad, value_fn=value_fn)
        return (optax.apply_updates(params, updates), opt_state), None

    return lax.scan(step, carry, rows)[0]
