"""Retrieve, then rerank."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.cross_encoder.conftest import write_classifier
from tests.retrieval.test_retriever import DOCUMENTS, QUERIES
from vicinal import CrossEncoder, Pipeline, Retriever, SentenceTransformer, errors
from vicinal.retrieval.fusion import weighted


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    return CrossEncoder(write_classifier(tmp_path_factory.mktemp("reranker")), dtype="float32", max_length=41)


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    return Retriever(SentenceTransformer(), DOCUMENTS)


@pytest.mark.filterwarnings("ignore::vicinal.errors.TruncationWarning")
def test_hits_are_in_the_rerankers_order(retriever: Retriever, reranker: CrossEncoder) -> None:
    pipeline = Pipeline(retriever, reranker, candidates=4, top_k=3)
    for query, ranking in zip(QUERIES, pipeline(QUERIES), strict=True):
        first = retriever.search(query, 4)
        wanted = reranker.rank(query, [hit.text for hit in first])
        assert [hit.id for hit in ranking] == [first[row["corpus_id"]].id for row in wanted[:3]]
        for hit, row in zip(ranking, wanted, strict=False):
            assert hit.score == hit.scores["rerank"] == pytest.approx(row["score"], abs=1e-6)
            assert hit.scores["dense"] == first[row["corpus_id"]].score
        assert (ranking.reranked, ranking.candidates, len(ranking)) == (4, 4, 3)
        assert set(ranking.seconds) == {"retrieve", "rerank"}
        alone = pipeline(query)
        assert [hit.id for hit in alone] == [hit.id for hit in ranking]
    assert len(pipeline(QUERIES[0], top_k=6)) == 6  # more than the candidates: the first stage gives more
    assert pipeline([]) == []


class Slow:
    """Ten milliseconds a pair, and the longest text is best."""

    num_labels = 1

    def __init__(self) -> None:
        self.seen = 0

    def predict(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        time.sleep(0.01 * len(pairs))
        self.seen += len(pairs)
        return np.array([float(len(text)) for _, text in pairs], np.float32)


def test_a_budget_reranks_the_best_that_fit() -> None:
    documents = [f"{'x' * (i % 17)} tea {i}" for i in range(300)]
    retriever = Retriever(None, documents, mode="bm25")
    slow = Slow()
    ranking = Pipeline(retriever, slow, candidates=200, top_k=200)("tea", within=0.5)  # type: ignore[arg-type]
    assert 4 <= ranking.reranked == slow.seen < 200
    first = [hit.id for hit in retriever.search("tea", 200)]
    assert [hit.id for hit in ranking[ranking.reranked :]] == first[ranking.reranked :]
    assert {hit.id for hit in ranking[: ranking.reranked]} == set(first[: ranking.reranked])
    scores = [hit.score for hit in ranking[: ranking.reranked]]
    assert scores == sorted(scores, reverse=True)
    assert all("rerank" not in hit.scores for hit in ranking[ranking.reranked :])
    whole = Pipeline(retriever, Slow(), candidates=20)("tea", within=60)  # type: ignore[arg-type]
    assert whole.reranked == 20
    late = Pipeline(retriever, Slow(), candidates=20)("tea", within=1e-9)  # type: ignore[arg-type]
    assert late.reranked == 0
    assert [hit.id for hit in late] == first[:10]


def test_they_say_what_they_are(retriever: Retriever, reranker: CrossEncoder) -> None:
    assert repr(retriever) == f"Retriever({len(retriever)} documents, mode='dense', encoder={retriever.encoder.name!r})"
    words = Retriever(None, ["tea"], mode="bm25")
    assert repr(words) == "Retriever(1 documents, mode='bm25', encoder=None)"
    shown = repr(Pipeline(words, reranker, 5, weight=0.5))
    assert shown == f"Pipeline({words!r}, {reranker.name!r}, candidates=5, top_k=10, weight=0.5)"


@pytest.mark.filterwarnings("ignore::vicinal.errors.TruncationWarning")
def test_a_weight_orders_by_both_stages(retriever: Retriever, reranker: CrossEncoder) -> None:
    first = retriever.search(QUERIES[0], 5)
    alone = {hit.id: hit.scores["rerank"] for hit in Pipeline(retriever, reranker, 5, 5)(QUERIES[0])}
    wanted = weighted([hit.score for hit in first], [alone[hit.id] for hit in first], 0.3)
    found = Pipeline(retriever, reranker, 5, 5, weight=0.3)(QUERIES[0])
    assert [hit.id for hit in found] == [first[i].id for i in np.argsort(-wanted, kind="stable")]
    for hit in found:
        assert hit.score == hit.scores["weighted"]
        assert set(hit.scores) == {"dense", "rerank", "weighted"}
    for weight, order in ((0, [hit.id for hit in first]), (1, sorted(alone, key=lambda i: -alone[i]))):
        assert [hit.id for hit in Pipeline(retriever, reranker, 5, 5, weight=weight)(QUERIES[0])] == order
    assert Pipeline(retriever, reranker, 5, 5, weight=0.3)([]) == []


def test_refused(tmp_path: Path, retriever: Retriever, reranker: CrossEncoder) -> None:
    with pytest.raises(ValueError, match="candidates must be a positive integer, not 0"):
        Pipeline(retriever, reranker, candidates=0)
    with pytest.raises(ValueError, match="a reranker gives one score a pair; this model has 3 labels"):
        Pipeline(retriever, CrossEncoder(write_classifier(tmp_path / "three", 3)))
    with pytest.raises(ValueError, match=r"weight must be a number between 0 .* and 1, not 2"):
        Pipeline(retriever, reranker, weight=2)
    with pytest.raises(ValueError, match="within must be a positive number of seconds, not 0"):
        Pipeline(retriever, reranker)("a", within=0)
    with pytest.raises(errors.InvalidInput, match="query 1 is None, not a text"):
        Pipeline(retriever, reranker)(["a", None])
