"""Figures of a classification against hand-counted ones, and against the source system's published table."""

import numpy as np
import pytest

from covnode.learn import metrics


def published():
    """The source system's test: [[12, 4], [5, 19]]."""
    truth = np.repeat([False, False, True, True], [12, 4, 5, 19])
    found = np.repeat([False, True, False, True], [12, 4, 5, 19])
    return truth, found


def test_the_published_confusion_matrix_gives_the_published_figures():
    truth, found = published()
    assert metrics.confusion_matrix(truth, found).tolist() == [[12, 4], [5, 19]]
    assert metrics.accuracy(truth, found) == 0.775
    assert metrics.recall(truth, found) == pytest.approx(0.7917, abs=1e-4)
    assert metrics.precision(truth, found) == pytest.approx(0.8261, abs=1e-4)
    assert metrics.f1(truth, found) == pytest.approx(0.8085, abs=1e-4)


def test_areas_are_those_counted_by_hand():
    truth = np.array([True, False, True, False])
    scores = np.array([0.9, 0.8, 0.3, 0.1])
    # Three of the four pairs of a positive and a negative are in the right order.
    assert metrics.roc_auc(truth, scores) == 0.75
    assert metrics.average_precision(truth, scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_equal_scores_count_half_and_never_by_their_order():
    scores = np.full(6, 0.5)
    for truth in (np.arange(6) < 3, np.arange(6) >= 3):
        assert metrics.roc_auc(truth, scores) == 0.5
        assert metrics.average_precision(truth, scores) == 0.5


def test_the_area_equals_the_share_of_pairs_in_order():
    rng = np.random.default_rng(1)
    truth, scores = rng.random(80) < 0.4, np.round(rng.random(80), 1)
    above = scores[truth][:, None] - scores[~truth]
    assert metrics.roc_auc(truth, scores) == pytest.approx(np.mean((above > 0) + 0.5 * (above == 0)))


def test_figures_that_are_not_defined_are_no_number():
    all_positive, none = np.ones(3, dtype=bool), np.zeros(3, dtype=bool)
    assert np.isnan(metrics.roc_auc(all_positive, np.arange(3.0)))
    assert np.isnan(metrics.average_precision(none, np.arange(3.0)))
    assert np.isnan(metrics.recall(none, none))
    assert np.isnan(metrics.precision(all_positive, none))


def test_calibration_of_a_coin_and_of_one_who_is_too_sure():
    truth = np.arange(1000) % 2 == 0
    assert metrics.calibration_error(truth, np.full(1000, 0.5)) == pytest.approx(0)
    assert metrics.calibration_error(truth, np.full(1000, 0.95)) == pytest.approx(0.45)
    assert metrics.brier_score(truth, np.full(1000, 0.5)) == 0.25
    only = metrics.reliability(truth, np.ones(1000))
    assert [(one.mean_probability, one.share_positive, one.count) for one in only] == [(1.0, 0.5, 1000)]


def test_class_differences_are_counted_by_their_distance():
    truth, found = np.array([0, 0, 2, 4, 4]), np.array([0, 1, 0, 4, 0])
    assert metrics.class_differences(truth, found) == (2, 1, 1, 0, 1)


def test_the_interval_holds_the_figure_narrows_with_patients_and_repeats_itself():
    rng = np.random.default_rng(2)

    def drawn(count):
        truth = rng.random(count) < 0.5
        return truth, truth + rng.normal(0, 1, count)

    few, many = drawn(40), drawn(1600)
    wide, narrow = metrics.interval(metrics.roc_auc, *few), metrics.interval(metrics.roc_auc, *many)
    assert wide == metrics.interval(metrics.roc_auc, *few)
    assert wide.low < wide.value < wide.high
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    # Two normal distributions one spread apart.
    assert narrow.low < 0.7602 < narrow.high
