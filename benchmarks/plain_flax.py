"""Plain flax baseline: `nn.Conv` and `nn.ConvTranspose`, one jitted train step, a Python loop over batches."""

from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from jax import numpy as jnp

from ae_jax.models.autoencoders import LinearAutoencoder


class PlainConvAutoencoder(nn.Module):
    """The same layers as `ConvAutoencoder`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(16, (3, 3), strides=2, padding=1)(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2, padding=1)(x))
        x = nn.Conv(64, (7, 7), padding="VALID")(x)
        x = nn.relu(nn.ConvTranspose(32, (7, 7), padding="VALID", transpose_kernel=True)(x))
        pads = ((1, 2), (1, 2))
        x = nn.relu(nn.ConvTranspose(16, (3, 3), strides=(2, 2), padding=pads, transpose_kernel=True)(x))
        return nn.sigmoid(nn.ConvTranspose(1, (3, 3), strides=(2, 2), padding=pads, transpose_kernel=True)(x))


@jax.jit
def train_step(state: TrainState, images: jax.Array) -> tuple[TrainState, jax.Array]:
    """Run one optimizer step on `f32[batch, 28, 28, 1]`."""

    def loss_fn(params: Any) -> jax.Array:
        return jnp.mean((state.apply_fn({"params": params}, images) - images) ** 2)

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


class Trainer:
    """Train with the tutorial's settings; NumPy shuffles the float images, and each step transfers one batch."""

    def __init__(self, arch: str, images: np.ndarray, batch_size: int) -> None:
        model = PlainConvAutoencoder() if arch == "conv" else LinearAutoencoder()
        params = model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
        self.state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adamw(1e-3, weight_decay=1e-5))
        self.images, self.batch_size = images.astype(np.float32) / 255, batch_size
        self.rng, self.order = np.random.default_rng(0), np.empty(0, np.int64)

    def train(self, num_steps: int) -> None:
        for _ in range(num_steps):
            if len(self.order) == 0:
                self.order = self.rng.permutation(len(self.images))
            rows, self.order = self.order[: self.batch_size], self.order[self.batch_size :]
            self.state, _ = train_step(self.state, self.images[rows])
        jax.block_until_ready(self.state.params)
