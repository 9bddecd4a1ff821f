"""The probes are scikit-learn's, to the image."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ae_jax.metrics.probes import auroc, linear_probe, nearest_neighbours


def codes_of_classes(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clouds that overlap, one a class, far from 0 and of very different spreads."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 7, n).astype(np.int32) * 3
    centres = np.random.default_rng(99).normal(size=(7, d))
    codes = (centres[labels // 3] + random.normal(size=(n, d))) * np.geomspace(0.1, 30, d) + 100
    return codes.astype(np.float32), labels


@pytest.mark.parametrize(("n", "d"), [(2000, 3), (2000, 64), (70, 5), (3, 2)])
def test_nearest_neighbours_are_scikit_learns(n: int, d: int) -> None:
    (codes, labels), (asked, _) = codes_of_classes(n, d, 0), codes_of_classes(333, d, 1)
    expected = KNeighborsClassifier(min(5, n)).fit(codes, labels).predict(asked)
    np.testing.assert_array_equal(nearest_neighbours(codes, labels, asked), expected)


def test_of_labels_with_equally_many_neighbours_the_smallest_wins() -> None:
    codes = np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)
    labels = np.array([9, 4, 4, 9], np.int32)
    assert nearest_neighbours(codes, labels, np.array([[2.5]], np.float32), k=4).tolist() == [4]
    assert nearest_neighbours(codes, labels, np.array([[1.4]], np.float32), k=1).tolist() == [9]


@pytest.mark.parametrize(("n", "d"), [(2000, 3), (2000, 64)])
def test_the_linear_probe_is_scikit_learns(n: int, d: int) -> None:
    (codes, labels), (asked, _) = codes_of_classes(n, d, 0), codes_of_classes(1000, d, 1)
    codes[:, 0], asked[:, 0] = 1, 1  # a number that says nothing
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    expected = model.fit(codes.astype(np.float64), labels).predict(asked.astype(np.float64))
    np.testing.assert_array_equal(linear_probe(codes, labels, asked), expected)


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_under_the_curve_is_scikit_learns(ties: bool) -> None:
    random = np.random.default_rng(0)
    scores, foreign = random.normal(size=500).astype(np.float32), random.normal(1, 2, size=300).astype(np.float32)
    if ties:
        scores, foreign = scores.round(1), foreign.round(1)
    truth = np.repeat([0, 1], [500, 300])
    assert auroc(scores, foreign) == pytest.approx(roc_auc_score(truth, np.concatenate([scores, foreign])), abs=1e-12)
