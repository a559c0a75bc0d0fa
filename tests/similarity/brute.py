"""The definitions, in float64 and with nothing clever: what the tests of `vicinal.similarity` compare with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, settings

from vicinal import util

# A machine that is busy is slow: neither an example nor the drawing of it is timed.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    return np.divide(a @ b.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0)


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a @ b.T)


def euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return -np.sqrt(np.square(a[:, None] - b).sum(axis=2))


def manhattan(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return -np.abs(a[:, None] - b).sum(axis=2)


FUNCTIONS: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "cosine": (util.cos_sim, cosine),
    "dot": (util.dot_score, dot),
    "euclidean": (util.euclidean_sim, euclidean),
    "manhattan": (util.manhattan_sim, manhattan),
}


def search(scores: np.ndarray, k: int) -> list[list[int]]:
    """The k best columns of each row, equal scores by column."""
    return [sorted(range(len(row)), key=lambda j, row=row: (-row[j], j))[:k] for row in scores]
