"""Which backend, dtype and batch budget suit one machine and one user's texts: measured, kept in a small file."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import VicinalError
from vicinal.profiles import Candidate
from vicinal.workers import Worker

BUDGETS = (512, 1024, 2048, 4096)
_QUERIES = 50
"""Texts whose nearest others are compared for recall@10."""


@dataclass(frozen=True)
class Measured:
    """What one way gave.

    Attributes:
        texts_per_second: the median of the rounds.
        latency_ms: of one text of median length, the median of some.
        peak_mb: largest resident memory of a process that does nothing else.
        cosine_mean, cosine_least: to the vectors at float32.
        recall_at_10: of the nearest ten of some texts among all, how many are those at float32.
    """

    candidate: Candidate
    texts_per_second: float
    latency_ms: float
    peak_mb: float
    cosine_mean: float
    cosine_least: float
    recall_at_10: float


def tune(
    model: str,
    texts: Sequence[str],
    ways: Sequence[tuple[str, str]],
    *,
    budgets: Sequence[int] = BUDGETS,
    rounds: int = 3,
    threads: int | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> list[Measured]:
    """Measure every way, each in a process of its own, taking turns so that a machine's moods are shared.

    Args:
        model: a name or a folder.
        texts: the user's own, at least two different ones.
        ways: (backend, dtype) pairs; the first is what the others' vectors are compared with.
        budgets: of batches; the fastest of each way is kept.
        said: is told what is going on.

    Returns:
        The best budget of each way, in the order of `ways`.
    """
    if len(set(texts)) < 2:
        raise ValueError("give at least two different texts to measure with")
    workers: list[Worker] = []
    try:
        for backend, dtype in ways:
            said(f"loading {backend} at {dtype}")
            workers.append(Worker())
            workers[-1].ask(_load, model, backend, dtype, threads, list(texts))
        seconds: dict[tuple[int, int], list[float]] = {}
        for turn in range(rounds + 1):  # the first warms
            for i, worker in enumerate(workers):
                for budget in budgets:
                    spent = worker.ask(_seconds, budget)
                    if turn:
                        seconds.setdefault((i, budget), []).append(spent)
            said(f"round {turn} of {rounds}" if turn else "warm")
        latencies = [worker.ask(_latency) for worker in workers]
        vectors = [worker.ask(_vectors) for worker in workers]
        peaks = [worker.ask(_peak) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    found = []
    for i, (backend, dtype) in enumerate(ways):
        spent, budget = min((float(np.median(seconds[i, budget])), budget) for budget in budgets)
        mean, least, recall = faithfulness(vectors[i], vectors[0])
        way = Candidate(backend, dtype, budget, threads)
        found.append(Measured(way, len(texts) / spent, latencies[i] * 1e3, peaks[i] / 1e6, mean, least, recall))
    return found


def faithfulness(found: NDArray[Any], reference: NDArray[Any]) -> tuple[float, float, float]:
    """Mean and least cosine of each row with the reference's, and recall@10 of neighbours among the rows."""

    def scaled(vectors: NDArray[Any]) -> NDArray[Any]:
        wide = vectors.astype(np.float64)
        return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-30))

    a, b = scaled(found), scaled(reference)
    cosine = (a * b).sum(1)
    k, asked = min(10, len(a) - 1), np.arange(min(_QUERIES, len(a)))

    def nearest(vectors: NDArray[Any]) -> NDArray[Any]:
        scores = vectors[asked] @ vectors.T
        scores[asked, asked] = -np.inf
        return np.argsort(-scores, axis=1, kind="stable")[:, :k]

    shared = [len(np.intersect1d(x, y)) for x, y in zip(nearest(a), nearest(b), strict=True)]
    return float(cosine.mean()), float(cosine.min()), float(np.mean(shared) / k)


def best(measured: Sequence[Measured], recall: float = 0.97) -> Measured:
    """The fastest way that keeps at least this recall@10; the most faithful where none does."""
    faithful = [one for one in measured if one.recall_at_10 >= recall]
    if not faithful:
        return max(measured, key=lambda one: one.recall_at_10)
    return max(faithful, key=lambda one: one.texts_per_second)


# ---- in a worker ---------------------------------------------------------------------------------------------------

_state: dict[str, Any] = {}


def _load(model: str, backend: str, dtype: str, threads: int | None, texts: list[str]) -> None:
    from vicinal.sentence_transformer import SentenceTransformer

    loaded = SentenceTransformer(model or None, backend=backend, dtype=dtype, threads=threads)
    _state.update(model=loaded, texts=texts)


def _encode(texts: Any, **options: Any) -> Any:
    return _state["model"].encode_document(texts, truncation="ignore", show_progress_bar=False, **options)


def _seconds(budget: int) -> float:
    begin = time.perf_counter()
    _encode(_state["texts"], batch_tokens=budget)
    return time.perf_counter() - begin


def _latency() -> float:
    text = sorted(_state["texts"], key=len)[len(_state["texts"]) // 2]
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        _encode(text)
        times.append(time.perf_counter() - begin)
    return sorted(times)[len(times) // 2]


def _vectors() -> NDArray[np.float32]:
    found: NDArray[np.float32] = _encode(_state["texts"])
    return found


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def available(model: str, ways: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], dict[tuple[str, str], str]]:
    """Which ways can run a model here, and why the others cannot.

    Raises:
        VicinalError: no way can; what the first of them says.
    """
    from vicinal.sentence_transformer import SentenceTransformer

    can: list[tuple[str, str]] = []
    cannot: dict[tuple[str, str], str] = {}
    first: VicinalError | None = None
    for backend, dtype in ways:
        try:
            SentenceTransformer(model or None, backend=backend, dtype=dtype).close()
            can.append((backend, dtype))
        except VicinalError as error:
            cannot[backend, dtype], first = str(error), first or error
    if not can and first is not None:
        raise first
    return can, cannot
