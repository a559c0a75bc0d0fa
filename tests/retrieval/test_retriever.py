"""The first stage by vectors, by words and by both."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from vicinal import Hit, Retriever, SentenceTransformer, errors, util
from vicinal.retrieval.lexical import Bm25

DOCUMENTS = [
    "Items can be returned within thirty days.",
    "We sell green tea and black tea.",
    "The office is open from nine to five.",
    "A refund is paid to your card when an item comes back.",
    "Tea should be kept dry.",
    "Closed on holidays.",
]
QUERIES = ["how do I get a refund for returned items?", "opening hours", "tea"]


@pytest.fixture(scope="module")
def encoder() -> SentenceTransformer:
    return SentenceTransformer()


def test_dense_hits_are_those_of_semantic_search(encoder: SentenceTransformer) -> None:
    retriever = Retriever(encoder, DOCUMENTS)
    wanted = util.semantic_search(encoder.encode_query(QUERIES), encoder.encode_document(DOCUMENTS), top_k=3)
    for hits, rows in zip(retriever.search(QUERIES, top_k=3), wanted, strict=True):
        assert [(hit.id, hit.score) for hit in hits] == [(row["corpus_id"], row["score"]) for row in rows]
        assert all(hit.text == DOCUMENTS[hit.id] and hit.scores == {"dense": hit.score} for hit in hits)
    assert retriever.search(QUERIES[0]) == retriever.search(QUERIES)[0]
    assert retriever.search([]) == []
    assert len(retriever) == len(DOCUMENTS)
    assert Retriever(encoder, []).search("tea") == []


def test_ids_metadata_and_vectors_of_ones_own(encoder: SentenceTransformer) -> None:
    ids, metadata = [f"d{i}" for i in range(6)], [{"n": i} for i in range(6)]
    vectors = encoder.encode_document(DOCUMENTS)
    retriever = Retriever(encoder, iter(DOCUMENTS), ids=ids, metadata=metadata, embeddings=vectors)
    hit = retriever.search("tea", 1)[0]
    assert (hit.id, hit.metadata) == ("d4", {"n": 4}) or (hit.id, hit.metadata) == ("d1", {"n": 1})
    with pytest.raises(AttributeError):
        hit.score = 1.0


def bm25(query: str, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's BM25 by its formula (Kamphuis et al. 2020), document by document."""
    words = [re.findall(r"\b\w\w+\b", text.lower()) for text in DOCUMENTS]
    mean = sum(map(len, words)) / len(words)
    asked = re.findall(r"\b\w\w+\b", query.lower())
    scores = []
    for text in words:
        counts, total = Counter(text), 0.0
        for word in asked:
            df = sum(word in other for other in words)
            if df:
                idf = math.log(1 + (len(words) - df + 0.5) / (df + 0.5))
                total += idf * counts[word] / (counts[word] + k1 * (1 - b + b * len(text) / mean))
        scores.append(total)
    return scores


@pytest.mark.parametrize("query", [*QUERIES, "tea tea", "nothing like it zzz"])
def test_words_are_scored_by_the_formula(query: str) -> None:
    np.testing.assert_allclose(Bm25(DOCUMENTS, None).scores(query), bm25(query), rtol=1e-5, atol=1e-7)


def test_search_by_words() -> None:
    retriever = Retriever(None, DOCUMENTS, mode="bm25")
    hits = retriever.search("tea", top_k=10)
    assert [hit.id for hit in hits] == [1, 4]
    assert hits[0].scores == {"bm25": hits[0].score}
    assert retriever.search("zzz") == retriever.search("") == retriever.search("the of and") == []
    assert Retriever(None, ["", ""], mode="bm25").search("tea") == []
    twice = Retriever(None, ["tea", "law", "tea", "tea"], mode="bm25").search("tea", 2)
    assert [hit.id for hit in twice] == [0, 2]  # equal scores: the earlier first


def test_both(encoder: SentenceTransformer) -> None:
    hits = Retriever(encoder, DOCUMENTS, mode="hybrid").search("tea", top_k=4)
    dense = [hit.id for hit in Retriever(encoder, DOCUMENTS).search("tea", 100)]
    words = [hit.id for hit in Retriever(None, DOCUMENTS, mode="bm25").search("tea", 100)]
    for hit in hits:
        places = [1 / (61 + order.index(hit.id)) for order in (dense, words) if hit.id in order]
        assert hit.score == pytest.approx(sum(places))
        assert set(hit.scores) == {"dense", "fusion", *(["bm25"] if hit.id in words else [])}
    assert {hits[0].id, hits[1].id} == {1, 4}


def test_an_index_is_searched_as_it_is() -> None:
    class Index:
        def search(self, query: list[str], top_k: int) -> list[list[Hit]]:
            return [[Hit("x", 1.0, text)][:top_k] for text in query]

        def __len__(self) -> int:
            return 7

    retriever = Retriever(None, Index())
    assert retriever.search(["a", "b"]) == [[Hit("x", 1.0, "a")], [Hit("x", 1.0, "b")]]
    assert len(retriever) == 7
    with pytest.raises(ValueError, match="an index has its own ids"):
        Retriever(None, Index(), ids=[1])


def test_an_empty_document_is_told_and_found_by_nothing(encoder: SentenceTransformer) -> None:
    with pytest.warns(errors.ZeroVectorWarning, match="row 1 is all zero"):
        retriever = Retriever(encoder, ["tea", ""], mode="hybrid")
    assert [hit.id for hit in retriever.search("tea")] == [0, 1]
    assert retriever.search("tea")[1].scores["dense"] == 0


def test_refused(encoder: SentenceTransformer) -> None:
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (["a", None], {}, errors.InvalidInput, "row 1 is None, not a text"),
        ("a", {}, errors.InvalidInput, "give a list of texts"),
        (["a"], {"ids": [1, 2]}, ValueError, "2 ids were given for 1 documents"),
        (["a", "b"], {"ids": [1, 1]}, ValueError, "ids must be different"),
        (["a"], {"metadata": []}, ValueError, "0 metadata were given for 1 documents"),
        (["a"], {"embeddings": np.zeros((1, 3))}, errors.DimensionMismatch, r"shape .1, 3.; 1 documents need .1, 256."),
        (["a"], {"mode": "nope"}, ValueError, 'mode must be "dense", "bm25" or "hybrid"'),
    ]
    for documents, options, error, message in cases:
        with pytest.raises(error, match=message):
            Retriever(encoder, documents, **options)
    with pytest.raises(ValueError, match='mode "hybrid" needs an encoder'):
        Retriever(None, ["a"], mode="hybrid")
    with pytest.raises(ValueError, match="top_k must be a positive integer, not 0"):
        Retriever(encoder, ["a"]).search("a", 0)
    with pytest.raises(errors.InvalidInput, match="row 0 is of type int"):
        Retriever(encoder, ["a"]).search([5])
