"""How sure a measured number is: bootstrap intervals, and tests of two models on the same data.

Sources: Efron and Tibshirani 1993, "An Introduction to the Bootstrap" (percentile intervals); Smucker, Allan and
Carterette 2007, "A comparison of statistical significance tests for information retrieval evaluation" (randomization).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Doubles: TypeAlias = NDArray[np.float64]
Statistic: TypeAlias = Callable[[NDArray[np.int64]], float]
"""From the numbers of some rows, with repetitions, to a number."""

_BLOCK = 1 << 20  # random numbers at a time
SAMPLES, FLIPS = 2000, 10000


class Interval(NamedTuple):
    """A number, and where the middle 95 % of its resampled values lie."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """A difference with its 95 % interval, and how probable one as large is if the two are alike."""

    value: float
    low: float
    high: float
    p: float


def mean_interval(values: Doubles, seed: int = 0) -> Interval:
    """The mean of (n,) values, and its bootstrap interval."""
    return Interval(float(values.mean()), *_middle(_means(values, seed)))


def mean_difference(a: Doubles, b: Doubles, seed: int = 0) -> Difference:
    """The mean of a - b, both (n,) values of the same n queries.

    The interval is a paired bootstrap's. p is a randomization test's: how often the mean is as far from 0 when each
    query's two values are swapped at random.
    """
    differences = a - b
    mean = float(differences.mean())
    rng = np.random.default_rng(seed)
    beyond = 0
    for rows in _blocks(FLIPS, len(differences)):
        signs = rng.integers(0, 2, (rows, len(differences)), np.int8) * 2 - 1
        beyond += int((np.abs(signs @ differences) / len(differences) >= abs(mean) - 1e-12).sum())
    return Difference(mean, *_middle(_means(differences, seed)), (1 + beyond) / (1 + FLIPS))


def statistic_interval(statistic: Statistic, n: int, seed: int = 0) -> Interval:
    """A statistic of n rows, and its bootstrap interval."""
    return Interval(statistic(np.arange(n)), *_middle(_statistics(statistic, n, seed)))


def statistic_difference(a: Statistic, b: Statistic, n: int, seed: int = 0) -> Difference:
    """The difference of two statistics of the same n rows.

    Interval and p are a paired bootstrap's; p is twice the share of resampled differences on the other side of 0.
    """
    differences = _statistics(lambda rows: a(rows) - b(rows), n, seed)
    aside = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    everything = np.arange(n)
    value = a(everything) - b(everything)
    return Difference(value, *_middle(differences), min(1.0, 2 * (1 + aside) / (1 + len(differences))))


def _statistics(statistic: Statistic, n: int, seed: int) -> Doubles:
    """The statistic of resampled rows, (samples,); resamples on which it is not defined are left out."""
    rng = np.random.default_rng(seed)
    found = np.array([statistic(rng.integers(0, n, n)) for _ in range(SAMPLES)])
    return np.asarray(found[np.isfinite(found)])


def _means(values: Doubles, seed: int) -> Doubles:
    """Means of resampled values, (samples,)."""
    rng = np.random.default_rng(seed)
    n = len(values)
    return np.concatenate([values[rng.integers(0, n, (rows, n))].mean(axis=1) for rows in _blocks(SAMPLES, n)])


def _blocks(samples: int, n: int) -> Iterator[int]:
    """How many samples of n numbers to draw at a time."""
    step = max(1, _BLOCK // n)
    for start in range(0, samples, step):
        yield min(step, samples - start)


def _middle(values: Doubles) -> tuple[float, float]:
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
