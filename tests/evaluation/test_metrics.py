"""The metrics against SciPy, scikit-learn, trec_eval, and plain loops."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.evaluation import metrics as m

scipy_stats = pytest.importorskip("scipy.stats")
sklearn_metrics = pytest.importorskip("sklearn.metrics")
pytrec_eval = pytest.importorskip("pytrec_eval")

few = st.sampled_from([-2.0, -0.5, 0.0, 0.25, 0.5, 1.0])  # few values: ties
scored = st.lists(st.tuples(few, st.integers(0, 1)), min_size=1, max_size=30)


@given(st.lists(few, min_size=1, max_size=30))
def test_ranks(values: list[float]) -> None:
    np.testing.assert_array_equal(m.ranks(values), scipy_stats.rankdata(values))


@given(st.lists(st.tuples(few, st.floats(-1e6, 1e6)), min_size=2, max_size=30))
def test_correlations(rows: list[tuple[float, float]]) -> None:
    x, y = map(list, zip(*rows, strict=True))
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert math.isnan(m.pearson(x, y))
        assert math.isnan(m.spearman(x, y))
        return
    assert m.spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y)[0], abs=1e-12)
    assert m.spearman(y, x) == pytest.approx(m.spearman(x, y), abs=1e-12)
    if np.ptp(y) > 1e-3:
        assert m.pearson(x, y) == pytest.approx(scipy_stats.pearsonr(x, y)[0], abs=1e-9)
        assert m.pearson(x, [-2 * v + 3 for v in y]) == pytest.approx(-m.pearson(x, y), abs=1e-6)


def test_correlations_of_extreme_numbers_are_finite() -> None:
    assert m.pearson([1e300, -1e300, 0], [1, -1, 0]) == pytest.approx(1)
    assert m.pearson([1e-300, -1e-300, 0], [1, -1, 0]) == pytest.approx(1)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2, 3]), ([1], [1]), ([], [])])
def test_correlations_need_two_lists_of_one_length(x: list[int], y: list[int]) -> None:
    with pytest.raises(ValueError, match=f"two lists of one length, 2 or more: got {len(x)} and {len(y)} numbers"):
        m.pearson(x, y)


def test_nan_is_named() -> None:
    with pytest.raises(ValueError, match=r"x hold nan or infinity at \[1\]"):
        m.pearson([1, float("nan")], [1, 2])
    with pytest.raises(ValueError, match=r"scores hold nan or infinity at \[0\]"):
        m.average_precision([float("inf")], [1])


@given(scored)
def test_average_precision(rows: list[tuple[float, int]]) -> None:
    scores, labels = zip(*rows, strict=True)
    expected = sklearn_metrics.average_precision_score(labels, scores) if any(labels) else 0.0
    assert m.average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)
    if any(labels):
        more = m.average_precision(scores, labels, ones=sum(labels) + 3)
        assert more == pytest.approx(expected * sum(labels) / (sum(labels) + 3), abs=1e-12)


@given(scored)
def test_thresholds_are_the_best(rows: list[tuple[float, int]]) -> None:
    scores, labels = (np.asarray(column) for column in zip(*rows, strict=True))
    accuracy, threshold = m.best_accuracy(scores, labels)
    assert accuracy == pytest.approx(((scores >= threshold) == labels).mean())
    every = [-10.0, *np.unique(scores), 10.0]
    assert accuracy == pytest.approx(max(((scores >= t) == labels).mean() for t in every))
    best = m.best_f1(scores, labels)
    if not labels.any():
        assert best == (0, 0, 0, 0)
        return
    said = scores >= best.threshold
    assert best.f1 == pytest.approx(sklearn_metrics.f1_score(labels, said))
    assert best.precision == pytest.approx(sklearn_metrics.precision_score(labels, said))
    assert best.recall == pytest.approx(sklearn_metrics.recall_score(labels, said))
    assert best.f1 == pytest.approx(max(sklearn_metrics.f1_score(labels, scores >= t, zero_division=0) for t in every))


def test_a_threshold_between_neighbouring_floats_keeps_them_apart() -> None:
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    for scores in ([high, low], [low, high]):
        labels = [int(score == high) for score in scores]
        accuracy, threshold = m.best_accuracy(np.array(scores, np.float32), labels)
        assert (accuracy, threshold) == (1.0, float(high))
        assert m.best_f1(np.array(scores, np.float32), labels).threshold == float(high)


def test_no_scores() -> None:
    assert m.best_accuracy([], []) == (0.0, -1.0)
    assert m.best_f1([], []) == (0, 0, 0, 0)
    assert m.average_precision([], [], ones=2) == 0.0


def test_scores_and_labels_belong_together() -> None:
    with pytest.raises(ValueError, match=r"a score needs a label: got 2 scores and labels of shape \(3,\)"):
        m.best_f1([1, 2], [0, 1, 1])


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20))
def test_matthews(rows: list[tuple[int, int]]) -> None:
    labels, said = zip(*rows, strict=True)
    constant = len(set(labels)) == 1 or len(set(said)) == 1
    expected = 0.0 if constant else sklearn_metrics.matthews_corrcoef(labels, said)
    assert m.matthews(labels, said) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30))
def test_class_f1(rows: list[tuple[int, int]]) -> None:
    labels, said = zip(*rows, strict=True)
    found = m.class_f1(labels, said)
    for kind in ("macro", "micro", "weighted"):
        expected = sklearn_metrics.f1_score(labels, said, average=kind, zero_division=0)
        assert found[kind] == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(few, st.integers(0, 3)), min_size=2, max_size=20), st.integers(1, 25))
def test_ndcg_of_scores(rows: list[tuple[float, int]], k: int) -> None:
    scores, gains = zip(*rows, strict=True)
    expected = sklearn_metrics.ndcg_score([gains], [scores], k=k)
    assert m.ndcg_of_scores(scores, gains, k) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 3)), min_size=1, max_size=5), st.integers(1, 6))
def test_ndcg_of_scores_is_the_mean_over_orders_of_ties(rows: list[tuple[float, int]], k: int) -> None:
    scores, gains = (np.asarray(column) for column in zip(*rows, strict=True))
    ideal = np.sort(gains)[::-1][None]
    orders = [list(p) for p in permutations(range(len(rows))) if (np.diff(scores[list(p)]) <= 0).all()]
    expected = np.mean([m.ndcg_at(gains[order][None], ideal, k)[0] for order in orders])
    assert m.ndcg_of_scores(scores, gains, k) == pytest.approx(expected, abs=1e-12)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 1)), min_size=1, max_size=6), st.integers(1, 7)
)
def test_reciprocal_rank_of_scores_is_the_mean_over_orders_of_ties(rows: list[tuple[float, int]], k: int) -> None:
    scores, relevant = (np.asarray(column) for column in zip(*rows, strict=True))
    orders = [list(p) for p in permutations(range(len(rows))) if (np.diff(scores[list(p)]) <= 0).all()]
    expected = np.mean([m.reciprocal_rank_at(relevant[order][None], k)[0] for order in orders])
    assert m.reciprocal_rank_of_scores(scores, relevant, k) == pytest.approx(expected, abs=1e-12)


runs = st.lists(
    st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=15), st.lists(st.integers(1, 3), max_size=8)),
    min_size=1, max_size=4,
).filter(lambda queries: all(any(ranked) or missed for ranked, missed in queries))  # fmt: skip


@given(runs)
def test_rankings_are_judged_as_trec_eval_judges(queries: list[tuple[list[int], list[int]]]) -> None:
    """With graded documents, of which some are relevant and not found."""
    width = max(len(ranked) for ranked, _ in queries)
    gains = np.zeros((len(queries), width))
    relevant, best, qrel, run = [], [], {}, {}
    for i, (ranked, missed) in enumerate(queries):
        gains[i, : len(ranked)] = ranked
        grades = sorted([*ranked, *missed], reverse=True)
        best.append(grades + [0] * (30 - len(grades)))
        relevant.append(sum(grade > 0 for grade in grades))
        qrel[str(i)] = {f"d{j:02}": grade for j, grade in enumerate([*ranked, *missed])}
        run[str(i)] = {f"d{j:02}": float(100 - j) for j in range(len(ranked))}
    ks = [1, 3, 5, 10]
    names = {f"{kind}.{','.join(map(str, ks))}" for kind in ("P", "recall", "ndcg_cut", "success", "map_cut")}
    found = pytrec_eval.RelevanceEvaluator(qrel, names | {"recip_rank"}).evaluate(run)
    trec = {name: np.array([found[str(i)][name] for i in range(len(queries))]) for name in found["0"]}
    counts = np.array(relevant)
    for k in ks:
        np.testing.assert_allclose(m.precision_at(gains, k), trec[f"P_{k}"])
        np.testing.assert_allclose(m.recall_at(gains, relevant, k), trec[f"recall_{k}"])
        np.testing.assert_allclose(m.ndcg_at(gains, best, k), trec[f"ndcg_cut_{k}"])
        np.testing.assert_allclose(m.accuracy_at(gains, k), trec[f"success_{k}"])
        ours = m.average_precision_at(gains, relevant, k)  # as a share of what can be found among k
        np.testing.assert_allclose(ours * np.minimum(k, counts) / counts, trec[f"map_cut_{k}"])
    np.testing.assert_allclose(m.reciprocal_rank_at(gains, width), trec["recip_rank"])


@given(runs)
def test_rankings_stay_in_range_and_more_is_never_worse(queries: list[tuple[list[int], list[int]]]) -> None:
    gains = np.zeros((len(queries), 15))
    for i, (ranked, _) in enumerate(queries):
        gains[i, : len(ranked)] = ranked
    relevant = [sum(g > 0 for g in [*ranked, *missed]) for ranked, missed in queries]
    best = [
        sorted([*ranked, *missed], reverse=True) + [0] * (30 - len(ranked) - len(missed)) for ranked, missed in queries
    ]
    for k in (1, 4, 50):
        values, later = (
            [m.accuracy_at(gains, n), m.recall_at(gains, relevant, n), m.reciprocal_rank_at(gains, n)]
            for n in (k, k + 3)
        )
        for value, after in zip(values, later, strict=True):
            assert (value <= after + 1e-12).all()
        for value in [
            *values,
            m.ndcg_at(gains, best, k),
            m.average_precision_at(gains, relevant, k),
            m.precision_at(gains, k),
        ]:
            assert ((value >= 0) & (value <= 1 + 1e-12)).all()


def test_nothing_ranked() -> None:
    none = np.zeros((2, 0))
    for values in (m.accuracy_at(none, 5), m.precision_at(none, 5), m.recall_at(none, [1, 2], 5),
                   m.reciprocal_rank_at(none, 5), m.average_precision_at(none, [1, 2], 5),
                   m.ndcg_at(none, [[1.0], [1.0]], 5)):  # fmt: skip
        np.testing.assert_array_equal(values, [0, 0])
