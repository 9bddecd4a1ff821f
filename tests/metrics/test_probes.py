import numpy as np
import pytest

from ae_jax.metrics.probes import auroc, linear_probe, nearest_neighbours


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_nearest_neighbours_take_a_majority_vote_with_ties_to_smallest_label() -> None:
    codes, labels = column(1, 2, 3, 4), np.array([9, 4, 4, 9], np.int32)  # fewer codes than neighbours
    assert nearest_neighbours(codes, labels, column(1.4)).tolist() == [4]
    codes, labels = column(0, 1, 2, 3, 4, 100), np.array([7, 7, 7, 3, 3, 3], np.int32)
    assert nearest_neighbours(codes, labels, column(2)).tolist() == [7]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_linear_probe_is_invariant_to_the_scale_of_the_codes(scale: float) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 600).astype(np.int32) * 5
    codes = random.normal(size=(600, 4)).astype(np.float32)
    codes[:, 0] += 4 * labels
    codes[:, 1] = 1  # a constant dimension
    expected = linear_probe(codes[:500], labels[:500], codes[500:])
    assert np.mean(expected == labels[500:]) > 0.95
    np.testing.assert_array_equal(linear_probe(scale * codes[:500], labels[:500], scale * codes[500:]), expected)


def test_linear_probe_trained_on_a_single_class_predicts_it() -> None:
    assert linear_probe(column(1, 2), np.array([3, 3], np.int32), column(5, 6, 7)).tolist() == [3, 3, 3]


def test_auroc_is_the_probability_of_a_higher_ood_score() -> None:
    def area(scores: list[float], ood_scores: list[float]) -> float:
        return auroc(np.array(scores, np.float32), np.array(ood_scores, np.float32))

    assert area([1, 2], [3, 4]) == 1
    assert area([3, 4], [1, 2]) == 0
    assert area([1, 1], [1]) == 0.5
    assert area([1, 3], [2, 4]) == 0.75
