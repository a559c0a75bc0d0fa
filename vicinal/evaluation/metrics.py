"""The metrics themselves: arrays in, numbers out.

Metrics of scores treat ties as one: no number depends on the order in which equal scores come. Metrics of rankings take
`gains`, the relevance of each query's documents in the order in which they were ranked, and give one number a query, so
that the caller may average, resample or compare.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles: TypeAlias = NDArray[np.float64]
Floats: TypeAlias = NDArray[Any]


# ---- agreement of two lists of numbers -----------------------------------------------------------------------------


def ranks(values: ArrayLike) -> Doubles:
    """Ranks from 1, equal values sharing the mean of theirs, (n,).

    >>> ranks([30, 10, 20, 10])
    array([4. , 1.5, 3. , 1.5])
    """
    array = _numbers(values, "values")
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], np.float64)


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's correlation of two (n,) lists; nan where one of them is constant.

    Raises:
        ValueError: they differ in length, have fewer than two numbers, or hold nan or infinity.
    """
    a, b = _numbers(x, "x").astype(np.float64), _numbers(y, "y").astype(np.float64)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"a correlation needs two lists of one length, 2 or more: got {len(a)} and {len(b)} numbers")
    if (a == a[0]).all() or (b == b[0]).all():
        return float("nan")
    a, b = _centred(a), _centred(b)
    return float(np.clip(a @ b, -1.0, 1.0))


def _centred(x: Doubles) -> Doubles:
    """Less its mean, at length 1; scaled first, so that no square leaves the range of float64."""
    x = x - x.mean()
    x = x / np.abs(x).max()
    return np.asarray(x / np.sqrt(x @ x))


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation: `pearson` of the `ranks`. Errors as there."""
    return pearson(ranks(x), ranks(y))


# ---- scores that should tell 1 from 0 ------------------------------------------------------------------------------


class _Cuts(NamedTuple):
    """What each possible threshold lets through, from the highest score down; one entry a distinct score."""

    scores: Floats
    passed: NDArray[np.int64]
    correct: NDArray[np.int64]


def _cuts(scores: ArrayLike, labels: ArrayLike) -> tuple[_Cuts, int, int]:
    """The cuts, how many labels there are, and how many of them are 1."""
    values, truth = _numbers(scores, "scores"), np.asarray(labels)
    if values.shape != truth.shape:
        raise ValueError(f"a score needs a label: got {len(values)} scores and labels of shape {truth.shape}")
    truth = truth == 1
    order = np.argsort(-values, kind="stable")
    values, correct = values[order], np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.empty(0, np.int64)
    return _Cuts(values[ends], ends + 1, correct[ends]), len(values), int(truth.sum())


def _between(scores: Floats, at: int) -> float:
    """A threshold that lets through what is at `at` or higher: half way to the next score, where that is below."""
    if at + 1 == len(scores):
        return float(scores[at])
    middle = scores[at] / 2 + scores[at + 1] / 2
    return float(middle if middle > scores[at + 1] else scores[at])


def best_accuracy(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """The highest accuracy that a threshold gives, and the highest such threshold.

    Args:
        scores: (n,), higher for label 1.
        labels: (n,) of 0 and 1.

    Returns:
        The accuracy and the threshold: above every score where calling everything 0 is best; (0, -1) without scores.
    """
    cuts, n, ones = _cuts(scores, labels)
    if n == 0:
        return 0.0, -1.0
    right = 2 * cuts.correct - cuts.passed + (n - ones)  # 1 above and 0 below the threshold
    best = int(right.argmax())
    if right[best] <= n - ones:
        kind = np.result_type(cuts.scores.dtype, np.float16)
        return (n - ones) / n, float(np.nextafter(cuts.scores[0].astype(kind), kind.type(np.inf)))
    return int(right[best]) / n, _between(cuts.scores, best)


class BestF1(NamedTuple):
    """F1 at its best, with what it is made of."""

    f1: float
    precision: float
    recall: float
    threshold: float


def best_f1(scores: ArrayLike, labels: ArrayLike, ones: int | None = None) -> BestF1:
    """The highest F1 that a threshold gives, all 0 where no label is 1.

    Args:
        scores, labels: as in `best_accuracy`.
        ones: how many labels of 1 there should be, where those that were never scored count as missed.
    """
    cuts, _, found = _cuts(scores, labels)
    ones = found if ones is None else ones
    if found == 0:
        return BestF1(0.0, 0.0, 0.0, 0.0)
    precision, recall = cuts.correct / cuts.passed, cuts.correct / ones
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros(len(total)), where=total > 0)
    best = int(f1.argmax())
    return BestF1(float(f1[best]), float(precision[best]), float(recall[best]), _between(cuts.scores, best))


def average_precision(scores: ArrayLike, labels: ArrayLike, ones: int | None = None) -> float:
    """Mean precision over the labels that are 1, each at the threshold that first lets it through; 0 without any.

    Args:
        scores, labels: as in `best_accuracy`.
        ones: as in `best_f1`.
    """
    cuts, _, found = _cuts(scores, labels)
    total = found if ones is None else ones
    if total == 0:
        return 0.0
    gained = np.diff(cuts.correct, prepend=0)
    return float((cuts.correct / cuts.passed) @ gained / total)


def matthews(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Matthews' correlation of two (n,) lists of 0 and 1; 0 where one of them is constant."""
    truth, guess = np.asarray(labels) == 1, np.asarray(predicted) == 1
    table = [float(np.count_nonzero(pair)) for pair in (truth & guess, ~truth & ~guess, ~truth & guess, truth & ~guess)]
    both, neither, wrong, missed = table
    product = (both + wrong) * (both + missed) * (neither + wrong) * (neither + missed)
    return (both * neither - wrong * missed) / float(np.sqrt(product)) if product else 0.0


def class_f1(labels: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """F1 of classes: "macro" (their mean), "micro" (of all decisions), "weighted" (mean by number of labels).

    Classes are those among labels and predictions; one that is never right counts 0.
    """
    truth, guess = np.asarray(labels), np.asarray(predicted)
    if truth.shape != guess.shape or truth.size == 0:
        raise ValueError(f"F1 needs a prediction for each label: got {guess.shape} for {truth.shape}")
    classes = np.union1d(truth, guess)
    right = np.array([np.count_nonzero((truth == c) & (guess == c)) for c in classes])
    there = np.array([np.count_nonzero(truth == c) for c in classes])
    said = np.array([np.count_nonzero(guess == c) for c in classes])
    each = 2 * right / (there + said)
    micro = 2 * right.sum() / (there.sum() + said.sum())
    return {"macro": float(each.mean()), "micro": float(micro), "weighted": float(each @ there / there.sum())}


# ---- rankings ------------------------------------------------------------------------------------------------------


def accuracy_at(gains: ArrayLike, k: int) -> Doubles:
    """1 where one of the first `k` documents is relevant, (queries,).

    Args:
        gains: (queries, ranked), the relevance of each ranked document; 0 or less is irrelevant.
    """
    return np.asarray((np.asarray(gains)[:, :k] > 0).any(axis=1), np.float64)


def precision_at(gains: ArrayLike, k: int) -> Doubles:
    """Share of the first `k` places that hold a relevant document, (queries,)."""
    return np.asarray((np.asarray(gains)[:, :k] > 0).sum(axis=1) / k)


def recall_at(gains: ArrayLike, relevant: ArrayLike, k: int) -> Doubles:
    """Share of the relevant documents that are among the first `k`, (queries,).

    Args:
        relevant: (queries,), how many relevant documents there are, found or not.
    """
    return np.asarray((np.asarray(gains)[:, :k] > 0).sum(axis=1) / np.asarray(relevant))


def reciprocal_rank_at(gains: ArrayLike, k: int) -> Doubles:
    """1 / rank of the first relevant document, 0 where none is among the first `k`, (queries,)."""
    hits = np.asarray(gains)[:, :k] > 0
    if hits.shape[1] == 0:
        return np.zeros(len(hits))
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)


def average_precision_at(gains: ArrayLike, relevant: ArrayLike, k: int) -> Doubles:
    """Mean precision at the ranks of the relevant documents among the first `k`, (queries,).

    Divided by what could be found there, min(k, relevant); trec_eval's map_cut divides by `relevant`.
    """
    hits = np.asarray(gains)[:, :k] > 0
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((precision * hits).sum(axis=1) / np.minimum(k, np.asarray(relevant)))


def ndcg_at(gains: ArrayLike, ideal: ArrayLike, k: int) -> Doubles:
    """Discounted cumulative gain of the first `k`, sum_i gain_i / log2(i + 1), as a share of the best possible one.

    Args:
        gains: (queries, ranked), the relevance of each ranked document; below 0 counts as 0.
        ideal: (queries, any), the relevances of all relevant documents from the highest down, then zeros.

    Source: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques".
    """
    found, best = _discounted(gains, k), _discounted(ideal, k)
    return np.divide(found, best, out=np.zeros(len(best)), where=best > 0)


def _discounted(gains: ArrayLike, k: int) -> Doubles:
    first = np.maximum(np.asarray(gains, np.float64)[:, :k], 0.0)
    return np.asarray(first @ _discounts(first.shape[1]))


def _discounts(n: int) -> Doubles:
    return np.asarray(1.0 / np.log2(np.arange(2, n + 2)))


def ndcg_of_scores(scores: ArrayLike, gains: ArrayLike, k: int) -> float:
    """nDCG of the ranking that scores give, the mean over all orders of equal scores; 0 without a positive gain.

    Args:
        scores, gains: (n,), of each document.

    Source: McSherry and Najork 2008, "Computing information retrieval performance measures efficiently in the presence
    of tied scores".
    """
    values, worth = _numbers(scores, "scores"), np.asarray(gains, np.float64)
    best = _discounted(np.sort(worth)[::-1][None], k)[0]
    if best <= 0:
        return 0.0
    discounts = _discounts(len(values))
    discounts[k:] = 0.0
    _, group, counts = np.unique(-values, return_inverse=True, return_counts=True)
    shares = np.add.reduceat(discounts, np.cumsum(counts) - counts) / counts
    return float((np.bincount(group, worth) @ shares) / best)


def reciprocal_rank_of_scores(scores: ArrayLike, relevant: ArrayLike, k: int) -> float:
    """`reciprocal_rank_at` of the ranking that scores give, the mean over all orders of equal scores.

    Args:
        scores: (n,), of each document.
        relevant: (n,), above 0 where it is relevant.
    """
    values, hits = _numbers(scores, "scores"), np.asarray(relevant) > 0
    if not hits.any():
        return 0.0
    best = values[hits].max()  # what comes first lies among these equals
    before, equal = int((values > best).sum()), int((values == best).sum())
    right = int(hits[values == best].sum())
    places = np.arange(equal)
    left = equal - places  # not placed yet, before each place
    none_yet = np.cumprod(np.append(1.0, np.maximum(left - right, 0) / left))[:-1]
    rank = before + places + 1
    return float((none_yet * right / left / rank)[rank <= k].sum())


def _numbers(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        array = array.astype(np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of numbers, not shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold nan or infinity at {np.flatnonzero(~np.isfinite(array))[:5].tolist()}")
    return array.astype(np.float64) if array.dtype.kind in "iub" else array
