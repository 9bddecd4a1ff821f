import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.training.adam import scale_by_adam


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
