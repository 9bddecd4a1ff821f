"""How much a code knows of what its images show: classifiers on codes, and how well a score separates two groups.

Accuracies and areas are scikit-learn's, to the image: `KNeighborsClassifier(5)`, `LogisticRegression()` after
`StandardScaler()`, `roc_auc_score`.
"""

import functools
from typing import Any, TypeAlias

import jax
import numpy as np
import scipy.optimize
import scipy.stats
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from ae_jax.types import HostCodes

Labels: TypeAlias = Int[np.ndarray, "n"]  # of any integer type

_NEIGHBOURS = 5
_CANDIDATES = 4 * _NEIGHBOURS  # nearest by float32, among which float64 decides
_GROUP = 64  # codes whose nearest is found at once
_ROWS = 400  # codes whose gradient is computed at once: as many as caches hold
_CHUNK = 50  # codes whose distances to all others are there at once: as many as caches hold


def nearest_neighbours(
    codes: HostCodes, labels: Labels, asked: Float[np.ndarray, "m d"], k: int = _NEIGHBOURS
) -> Int[np.ndarray, "m"]:
    """For each of `asked` the label that most of the `k` nearest `codes` have, of equally many the smallest."""
    classes, numbers = np.unique(labels, return_inverse=True)
    k = min(k, len(codes))
    centre = codes.mean(0)  # of what is far from 0, float32 would see little but that
    centred = jnp.asarray(codes - centre)
    chunks = np.pad(asked - centre, ((0, -len(asked) % _CHUNK), (0, 0))).reshape(-1, _CHUNK, codes.shape[1])
    near = [np.asarray(_nearest(centred, chunk, min(_CANDIDATES, len(codes)))) for chunk in chunks]
    candidates = np.sort(np.concatenate(near)[: len(asked)])  # so that of equally distant ones the first counts
    distances = np.square(codes[candidates].astype(np.float64) - asked[:, None].astype(np.float64)).sum(axis=2)
    nearest = np.take_along_axis(candidates, np.argsort(distances, axis=1, kind="stable")[:, :k], axis=1)
    votes = (numbers[nearest][:, :, None] == np.arange(len(classes))).sum(axis=1)
    return classes[votes.argmax(axis=1)]


@functools.partial(jax.jit, static_argnums=2)
def _nearest(codes: Any, asked: Any, k: int) -> Int[Array, "m k"]:
    """The positions of the `k` nearest of `codes` for each of `asked`.

    They lie in the `k` groups that hold the nearest ones, so that only these have to be sorted.
    """
    num_groups = -(-len(codes) // _GROUP)
    filling = num_groups * _GROUP - len(codes)
    squares = jnp.pad(jnp.sum(jnp.square(codes), axis=1), (0, filling), constant_values=jnp.inf)[None]
    padded = jnp.pad(codes, ((0, filling), (0, 0)))
    closeness = 2 * jnp.matmul(asked, padded.T, precision=lax.Precision.HIGHEST) - squares  # GPUs' own is not float32
    groups = closeness.reshape(len(asked), _GROUP, num_groups)
    _, chosen = lax.top_k(groups.max(axis=1), min(k, num_groups))
    _, places = lax.top_k(jnp.take_along_axis(groups, chosen[:, None], axis=2).reshape(len(asked), -1), k)
    within, which = jnp.divmod(places, chosen.shape[1])
    return within * num_groups + jnp.take_along_axis(chosen, which, axis=1)


def linear_probe(codes: HostCodes, labels: Labels, asked: Float[np.ndarray, "m d"]) -> Int[np.ndarray, "m"]:
    """For each of `asked` the likeliest label by multinomial logistic regression on `codes`, standardised.

    The weights `W` and biases minimise `Σ log-loss + ½‖W‖²`.
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    mean, spread = codes.mean(0, dtype=np.float64), codes.std(0, dtype=np.float64)
    spread[spread == 0] = 1
    x, x_asked = (np.insert((part - mean) / spread, 0, 1, axis=1) for part in (codes, asked))
    truth = np.eye(len(classes))[numbers].T  # classes by images: sums over classes add up long rows
    chunks = [(x[i : i + _ROWS], truth[:, i : i + _ROWS].copy()) for i in range(0, len(x), _ROWS)]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(len(classes), -1)  # the first column are the biases
        gradient = np.insert(weights[:, 1:], 0, 0, axis=1)
        loss = np.sum(gradient**2) / 2
        for rows, row_truth in chunks:
            logits = weights @ rows.T
            logits -= logits.max(axis=0)
            likelihoods = np.exp(logits)
            sums = likelihoods.sum(axis=0)
            loss += np.log(sums).sum() - np.vdot(logits, row_truth)
            gradient += (likelihoods / sums - row_truth) @ rows
        return loss / len(x), gradient.ravel() / len(x)

    start = np.zeros(len(classes) * x.shape[1])
    options = {"maxiter": 1000, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}  # scikit-learn's
    flat = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    return classes[np.argmax(flat.reshape(len(classes), -1) @ x_asked.T, axis=0)]


def auroc(scores: Float[np.ndarray, "n"], foreign_scores: Float[np.ndarray, "m"]) -> float:
    """The probability that a foreign score is higher than another one: the area under the ROC curve.

    Mann & Whitney 1947; equal scores count one half.
    """
    wins = scipy.stats.mannwhitneyu(foreign_scores.astype(np.float64), scores, method="asymptotic").statistic
    return float(wins / (len(scores) * len(foreign_scores)))
