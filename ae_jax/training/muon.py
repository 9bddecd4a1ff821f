"""Muon: momentum with orthogonal updates for kernels, Adam for all other parameters."""

import jax
import optax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from ae_jax.training.adam import scale_by_adam
from ae_jax.types import Scalar

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's
_NUM_ITERATIONS = 3  # Jordan: 5, which reach no lower error here
_LARGEST_SIDE = 64  # for larger kernels the iteration costs more than it gains
_ROWS = 256  # of a block: XLA's product of long columns is slow on CPUs


def scale_by_muon(beta1: float | Scalar, beta2: float | Scalar) -> optax.GradientTransformation:
    """Orthogonalise the updates of kernels (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

    A kernel `f32[…, features]` counts as a matrix with `features` columns. If the matrix has a side of at most 64, its
    update is the orthogonal matrix next to its Nesterov momentum, times `0.2 · sqrt(larger side)`: the size of Adam's
    updates, so that both take one learning rate and one weight decay (Liu et al. 2025, arXiv:2502.16982).
    Other kernels, and biases, have Adam's updates (`scale_by_adam`).

    Args:
      beta1: decay rate of the momentum, and of Adam's first moment, `0 <= beta1 < 1`; may be traced, as `beta2`.
      beta2: decay rate of Adam's second moment.
    """
    transformations = {"muon": _scale_by_orthogonal_momentum(beta1), "adam": scale_by_adam(beta1, beta2)}
    return optax.partition(transformations, lambda params: jax.tree.map(_transformation, params))


def _transformation(parameter: jax.Array) -> str:
    return "muon" if parameter.ndim > 1 and min(_as_matrix(parameter).shape) <= _LARGEST_SIDE else "adam"


def _scale_by_orthogonal_momentum(beta: float | Scalar) -> optax.GradientTransformation:
    def update(
        grads: optax.Updates, state: optax.TraceState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.TraceState]:
        updates, state = optax.trace(beta, nesterov=True).update(grads, state, params)
        return jax.tree.map(_scaled_orthogonal, updates), state

    return optax.GradientTransformation(optax.trace(0.0).init, update)


def _scaled_orthogonal(update: jax.Array) -> jax.Array:
    matrix = _as_matrix(update)
    return (0.2 * max(matrix.shape) ** 0.5 * _orthogonalise(matrix)).reshape(update.shape)


def _orthogonalise(x: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """Bring all singular values close to 1 by Newton-Schulz iterations `X ← X·P`, `P = a·I + b·XᵀX + c·(XᵀX)²`.

    Only the Gram matrix `XᵀX` of the smaller side and the product of all `P` are iterated: for the convolutional model,
    less than half of the optimizer's time.
    """
    if x.shape[0] < x.shape[1]:
        return _orthogonalise(x.T).T
    x *= lax.rsqrt(jnp.sum(jnp.square(x)) + 1e-16)  # now no singular value is above 1
    blocks = [x[i : i + _ROWS] for i in range(0, len(x), _ROWS)]
    gram = sum((block.T @ block for block in blocks), start=jnp.zeros((), x.dtype))
    product = factor = _polynomial(gram)
    for _ in range(_NUM_ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = _polynomial(gram)
        product = product @ factor
    return x @ product


def _polynomial(gram: Float[Array, "n n"]) -> Float[Array, "n n"]:
    a, b, c = _COEFFICIENTS
    return a * jnp.eye(len(gram), dtype=gram.dtype) + b * gram + c * gram @ gram


def _as_matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(-1, kernel.shape[-1])
