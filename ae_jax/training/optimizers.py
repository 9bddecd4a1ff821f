"""Adam with accurate bias correction in float32, and Muon: orthogonal updates for kernels, Adam for the rest."""

import jax
import optax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float
from optax import tree_utils

from ae_jax.types import Scalar, Step

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Muon: Jordan's
_NUM_ITERATIONS = 3  # Jordan: 5, which reach no lower error here
_ROWS = 256  # of a block: XLA's product of long columns is slow on CPUs


def scale_by_adam(beta1: float | Scalar, beta2: float | Scalar, eps: float = 1e-8) -> optax.GradientTransformation:
    """Like `optax.scale_by_adam`, with the same state, but its bias corrections are accurate in float32.

    Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1) divides its moments by `1 - beta**t`. In float32 that
    difference cancels: `1 - 0.999**1` is off by 1.3e-5 of its value, which is enough to move ReLUs that are close to 0
    to the other side (docs/pytorch.md has the distances to a float64 run). `-expm1(t · log1p(beta - 1))`, where
    `beta - 1` is exact for betas of 0.5 and more, is off by 1e-7. An `optax.scale_by_adam` that computes its
    corrections so would make this function unnecessary.

    The decay rates of the two moments, `0 <= beta < 1`, may be traced.
    """

    def update(
        grads: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        decay1, decay2 = jnp.asarray(beta1, jnp.float32), jnp.asarray(beta2, jnp.float32)
        mu = tree_utils.tree_update_moment(grads, state.mu, decay1, 1)
        nu = tree_utils.tree_update_moment(grads, state.nu, decay2, 2)
        count = optax.safe_increment(state.count)
        first, second = 1 / _bias_correction(decay1, count), 1 / _bias_correction(decay2, count)  # one division each
        updates = jax.tree.map(lambda m, v: (m * first) / (_sqrt(v * second) + eps), mu, nu)
        # Float32 decay rates promote narrower moments.
        moments = tree_utils.tree_cast_like(mu, state.mu), tree_utils.tree_cast_like(nu, state.nu)
        return updates, optax.ScaleByAdamState(count, *moments)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def scale_by_muon(
    beta1: float | Scalar, beta2: float | Scalar, max_side: int | None = None
) -> optax.GradientTransformation:
    """Orthogonalise the updates of kernels (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

    A kernel `f32[…, features]` counts as a matrix with `features` columns. Its update is the orthogonal matrix next to
    its Nesterov momentum, times `0.2 · sqrt(larger side)`: the size of Adam's updates, so that both take one learning
    rate and one weight decay (Liu et al. 2025, arXiv:2502.16982). Biases, and matrices whose smaller side exceeds
    `max_side`, have Adam's updates (`scale_by_adam`), with `beta1` also the decay rate of the momentum.
    """

    def label(parameter: jax.Array) -> str:
        smaller_side = min(_as_matrix(parameter).shape) if parameter.ndim > 1 else 0
        return "muon" if smaller_side > 0 and (max_side is None or smaller_side <= max_side) else "adam"

    orthogonalise = optax.stateless(lambda updates, _: jax.tree.map(_scaled_orthogonal, updates))
    muon = optax.chain(optax.trace(beta1, nesterov=True), orthogonalise)
    transformations = {"muon": muon, "adam": scale_by_adam(beta1, beta2)}
    return optax.partition(transformations, lambda params: jax.tree.map(label, params))


@jax.custom_jvp
def _sqrt(x: jax.Array) -> jax.Array:
    """The square root, with a derivative of 0 at 0: that of the second moment of a gradient that has always been 0.

    It is infinite, and times 0 NaN: the derivative through two steps on MNIST, whose border pixels are always black.
    """
    return jnp.sqrt(x)


@_sqrt.defjvp
def _sqrt_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    root = _sqrt(*primals)
    return root, jnp.where(root > 0, tangents[0] / (2 * jnp.where(root > 0, root, 1)), 0)


def _bias_correction(beta: Scalar, count: Step) -> Scalar:
    positive = jnp.where(beta > 0, beta, 1)  # of 0, the logarithm and its derivative are infinite
    return jnp.where(beta > 0, -jnp.expm1(count * jnp.log1p(positive - 1)), 1)


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
