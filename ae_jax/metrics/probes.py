"""Probes of latent codes: label classifiers, and how well a score separates out-of-distribution images."""

import warnings
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ae_jax.types import HostCodes

Labels: TypeAlias = Int[np.ndarray, "n"]  # of any integer type
Queries: TypeAlias = Float[np.ndarray, "m d"]
_NEIGHBOURS = 5


def nearest_neighbours(codes: HostCodes, labels: Labels, queries: Queries) -> Int[np.ndarray, "m"]:
    """Predict for each query the majority label of its 5 nearest `codes`; of equally frequent labels the smallest."""
    return KNeighborsClassifier(min(_NEIGHBOURS, len(codes))).fit(codes, labels).predict(queries)


def linear_probe(codes: HostCodes, labels: Labels, queries: Queries) -> Int[np.ndarray, "m"]:
    """Predict the label of each query by multinomial logistic regression on the standardised `codes`, in float64."""
    if (labels == labels[0]).all():  # a single class cannot be fitted
        return np.full(len(queries), labels[0])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    # One BLAS thread: with two threads on two busy cores, the fit took 8 to 22 times as long.
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the weights after 1000 iterations serve
        return model.fit(codes.astype(np.float64), labels).predict(queries.astype(np.float64))


def auroc(scores: Float[np.ndarray, "n"], ood_scores: Float[np.ndarray, "m"]) -> float:
    """Area under the ROC curve: the probability that an OOD score is higher than another one, ties counting half."""
    is_ood = np.repeat([0, 1], [len(scores), len(ood_scores)])
    return float(roc_auc_score(is_ood, np.concatenate([scores, ood_scores])))
