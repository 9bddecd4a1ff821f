"""A short training, also as a program, which takes and saves a checkpoint: its process may run in float64.

python -m tests.support.training CHECKPOINT_TO_READ CHECKPOINT_TO_WRITE
"""

import sys

import jax
import numpy as np

import ae_jax
from ae_jax.models.autoencoders import torch_init

MODEL = ae_jax.ConvPoolAutoencoder()


def train() -> ae_jax.TrainState:
    """Train and evaluate in every public way; `TypeError` if any result is of another type than usual."""
    images = np.asarray(ae_jax.draw_glyphs(jax.random.key(0), 300)[0])[:40]
    params = torch_init(MODEL, jax.random.key(1))
    state = ae_jax.create_train_state(MODEL, jax.random.key(0), params=params)
    state, of_step = ae_jax.train_step(state, images / 255)  # a float64 array
    loss = ae_jax.denoising_loss(0.1)
    start = ae_jax.create_train_state(MODEL, jax.random.key(2))
    fitted, of_fit = ae_jax.fit(start, images, jax.random.key(3), num_epochs=1, loss_fn=loss)

    def inspect(state: ae_jax.TrainState) -> object:
        code = MODEL.apply({"params": state.params}, ae_jax.to_float(images), method="encode")
        losses = ae_jax.evaluate(state, images), ae_jax.eval_step(state, images / 255)
        return code, losses, ae_jax.reconstruct(state, images)

    results = state, of_step, fitted, of_fit, jax.eval_shape(inspect, state)
    types = {leaf.dtype.name for leaf in jax.tree.leaves(results)}
    if types != {"float32", "int32"}:
        raise TypeError(types)
    return state.replace(params=jax.tree.map(np.add, jax.device_get(state.params), jax.device_get(fitted.params)))


if __name__ == "__main__":
    source, target = sys.argv[1:]
    trained = train()
    ae_jax.load_checkpoint(source, like=trained)
    ae_jax.save_checkpoint(target, trained)
