"""Tests of semantic_search_faiss and semantic_search_usearch, against sentence-transformers and brute force."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vicinal import extras
from vicinal.errors import DimensionMismatch, MissingExtra, NonFiniteEmbedding, VicinalWarning
from vicinal.similarity import quantized_search
from vicinal.util import quantization_ranges, quantize_embeddings, semantic_search_faiss, semantic_search_usearch

pytest.importorskip("faiss", reason="the extra faiss")
pytest.importorskip("usearch", reason="the extra usearch")

OURS: dict[str, Callable[..., Any]] = {"faiss": semantic_search_faiss, "usearch": semantic_search_usearch}
PRECISIONS = [
    ("faiss", "float32"), ("faiss", "uint8"), ("faiss", "ubinary"),
    ("usearch", "float32"), ("usearch", "int8"), ("usearch", "ubinary"), ("usearch", "binary"),
]  # fmt: skip
DIMS = 37  # no whole number of bytes


@pytest.fixture(scope="module")
def corpus() -> np.ndarray:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(400, DIMS)) + 2 * rng.normal(size=(8, DIMS))[np.arange(400) % 8]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def queries(corpus: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(6)
    return (corpus[::27] + 0.1 * rng.normal(size=corpus[::27].shape)).astype(np.float32)


def small(corpus: np.ndarray, precision: Any) -> np.ndarray:
    ranges = quantization_ranges(corpus) if precision.endswith("int8") else None
    return np.asarray(quantize_embeddings(corpus, precision, ranges))


def wishes(corpus: np.ndarray, precision: str) -> dict[str, Any]:
    return {"ranges": quantization_ranges(corpus)} if precision.endswith("int8") else {}


def agree(found: list[list[dict[str, Any]]], expected: list[list[dict[str, Any]]]) -> None:
    """The same scores, and the same rows but for those of equal scores."""
    assert len(found) == len(expected)
    for hits, others in zip(found, expected, strict=True):
        scores, theirs = ([hit["score"] for hit in listed] for listed in (hits, others))
        np.testing.assert_allclose(scores, theirs, rtol=1e-5, atol=1e-5)
        for score in set(np.round(theirs, 3)):
            inner = abs(score - theirs[-1]) > 2e-3  # of those that score like the last, any may be there
            ours_, theirs_ = (
                {hit["corpus_id"] for hit in listed if abs(hit["score"] - score) < 1e-3} for listed in (hits, others)
            )
            assert not inner or ours_ == theirs_
        assert all(type(hit["corpus_id"]) is int and type(hit["score"]) is float for hit in hits)


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"rescore": False}, {"rescore_multiplier": 5}, {"exact": False}])
@pytest.mark.parametrize(("engine", "precision"), PRECISIONS)
def test_hits_are_the_peers(
    corpus: np.ndarray, queries: np.ndarray, engine: str, precision: str, options: dict[str, Any]
) -> None:
    from sentence_transformers.util import quantization as peer

    call = {"corpus_precision": precision, **wishes(corpus, precision), **options}
    rows = small(corpus, precision)
    theirs, _ = getattr(peer, f"semantic_search_{engine}")(queries, rows, **call)
    found, seconds = OURS[engine](queries, rows, **call)
    assert seconds > 0
    rescored, exact = options.get("rescore", True) and precision != "float32", options.get("exact", True)
    shared = overlap(found, theirs)
    if rescored and precision in ("int8", "uint8"):  # the peer misses many of the best
        ours_, theirs_ = (np.mean([[hit["score"] for hit in hits] for hits in listed]) for listed in (found, theirs))
        assert ours_ >= theirs_ - (0 if exact else 0.005)  # a graph is built by threads: what it misses is chance
    elif not exact or (rescored and "binary" in precision):
        assert shared > 0.8  # which of many rows with equal bits are candidates is chance
    else:
        agree(found, theirs)


def overlap(found: list[list[dict[str, Any]]], expected: list[list[dict[str, Any]]]) -> float:
    """How much of what was expected was found."""
    pairs = zip(found, expected, strict=True)
    return float(np.mean([len({h["corpus_id"] for h in a} & {h["corpus_id"] for h in b}) / len(b) for a, b in pairs]))


@pytest.mark.parametrize(("engine", "precision"), [("faiss", "uint8"), ("usearch", "int8")])
def test_few_of_the_best_are_missed(corpus: np.ndarray, queries: np.ndarray, engine: str, precision: str) -> None:
    rows, call = small(corpus, precision), {"corpus_precision": precision, **wishes(corpus, precision)}
    best, _ = OURS[engine](queries, rows, rescore_multiplier=40, **call)
    for exact in (True, False):
        found, _ = OURS[engine](queries, rows, exact=exact, **call)
        assert overlap(found, best) > 0.9


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_calibration_and_none_are_the_peers(corpus: np.ndarray, queries: np.ndarray, precision: Any) -> None:
    from sentence_transformers.util import quantization as peer

    engine = "usearch" if precision == "int8" else "faiss"
    rows = small(corpus, precision)
    call: dict[str, Any] = {"corpus_precision": precision}
    call["rescore_multiplier"] = 40  # every row is a candidate
    theirs, _ = getattr(peer, f"semantic_search_{engine}")(queries, rows, calibration_embeddings=corpus, **call)
    found, _ = OURS[engine](queries, rows, calibration_embeddings=corpus, **call)
    agree(found, theirs)
    theirs, _ = getattr(peer, f"semantic_search_{engine}")(queries, rows, **call)
    with pytest.warns(VicinalWarning, match="ranges are taken from the queries; scores are wrong unless"):
        found, _ = OURS[engine](queries, rows, **call)
    agree(found, theirs)
    with pytest.raises(ValueError, match="ranges cannot be taken from a single query"):
        OURS[engine](queries[0], rows, **call)


@pytest.mark.parametrize(("engine", "precision"), PRECISIONS)
def test_an_index_can_be_searched_again(corpus: np.ndarray, queries: np.ndarray, engine: str, precision: str) -> None:
    call = {"corpus_precision": precision, **wishes(corpus, precision)}
    found, _, index = OURS[engine](queries, small(corpus, precision), output_index=True, **call)
    again, _ = OURS[engine](queries, corpus_index=index, **call)
    assert again == found
    one, _ = OURS[engine](queries[4], corpus_index=index, **call)
    agree(one, found[4:5])
    lists, _ = OURS[engine](queries.tolist(), corpus_index=index, **call)
    agree(lists, found)
    quantized, _ = OURS[engine](small(queries, precision), corpus_index=index, rescore=False, **call)
    ours, _ = OURS[engine](
        queries, corpus_index=index, rescore=False, **{**call, **wishes(queries, precision)}
    )  # fmt: skip
    agree(quantized, ours)


@pytest.mark.parametrize(("engine", "precision"), PRECISIONS[1:3] + PRECISIONS[4:])
def test_rescored_candidates_are_ranked_by_the_restored_vectors(
    corpus: np.ndarray, queries: np.ndarray, engine: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every row a candidate, the hits are those of brute force; for uint8 without that too."""
    monkeypatch.setattr(quantized_search, "_NUMBERS", 400 * DIMS * 2)  # two queries at a time
    rows = small(corpus, precision)
    if precision in ("binary", "ubinary"):
        restored = (corpus > 0).astype(float)
    else:
        low, high = quantization_ranges(corpus).astype(float)
        levels = rows.astype(float) + (128 if precision == "int8" else 0)
        restored = low + levels * (high - low) / 255
    scores = queries.astype(float) @ restored.T
    found, _ = OURS[engine](
        queries, rows, corpus_precision=precision, rescore_multiplier=1 if precision == "uint8" else 100,
        **wishes(corpus, precision),
    )  # fmt: skip
    agree(found, [
        [{"corpus_id": int(row), "score": float(line[row])} for row in np.argsort(-line)[:10]] for line in scores
    ])  # fmt: skip


@pytest.mark.parametrize(("engine", "precision"), PRECISIONS)
def test_small_and_empty_inputs(corpus: np.ndarray, queries: np.ndarray, engine: str, precision: str) -> None:
    call = {"corpus_precision": precision, **wishes(corpus, precision)}
    rows = small(corpus, precision)
    found, _ = OURS[engine](queries, rows[:3], **call)
    assert [sorted(hit["corpus_id"] for hit in hits) for hits in found] == [[0, 1, 2]] * len(queries)
    assert OURS[engine](queries, rows[:0], **call)[0] == [[]] * len(queries)
    assert OURS[engine](queries[:0], rows, **call)[0] == []


def test_tensors(corpus: np.ndarray, queries: np.ndarray) -> None:
    torch = pytest.importorskip("torch", reason="the torch extra")
    found, _ = semantic_search_faiss(torch.tensor(queries), torch.tensor(corpus))[:2]
    agree(found, semantic_search_faiss(queries, corpus)[0])


def test_nothing_is_said_where_nothing_is_wrong(corpus: np.ndarray, queries: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", VicinalWarning)
        semantic_search_faiss(queries, corpus)
        semantic_search_usearch(queries, corpus)


def test_what_does_not_fit(corpus: np.ndarray, queries: np.ndarray) -> None:
    for engine, search in OURS.items():
        with pytest.raises(ValueError, match=r"give either corpus_embeddings or corpus_index$"):
            search(queries)
        with pytest.raises(ValueError, match="give either corpus_embeddings or corpus_index, not both"):
            search(queries, corpus, object())
        wrong = "int8" if engine == "faiss" else "uint8"
        with pytest.raises(ValueError, match=rf"corpus_precision must be one of \[.*\] for .*, not '{wrong}'"):
            search(queries, corpus, corpus_precision=wrong)
        with pytest.raises(TypeError, match="corpus_precision='ubinary' needs corpus_embeddings of that precision"):
            search(queries, corpus, corpus_precision="ubinary")
        with pytest.raises(TypeError, match="corpus_precision='float32' needs corpus_embeddings of that precision"):
            search(queries, small(corpus, "ubinary"))
        with pytest.raises(TypeError, match="query_embeddings are int8, which does not fit corpus_precision='ubinary'"):
            search(small(queries, "binary"), small(corpus, "ubinary"), corpus_precision="ubinary")
        with pytest.raises(DimensionMismatch, match=r"shape \(15, 36\) are 36 numbers wide .*; the corpus has 37"):
            search(queries[:, :36], corpus)
        with pytest.raises(ValueError, match="top_k must be at least 1"):
            search(queries, corpus, top_k=0)
        index = search(queries, corpus, output_index=True)[2]
        with pytest.raises(TypeError, match="corpus_precision='ubinary' does not fit corpus_index, which"):
            search(queries, corpus_index=index, corpus_precision="ubinary")
    with pytest.raises(NonFiniteEmbedding, match="row 1"):
        semantic_search_faiss([[1.0] * 8, [np.nan] * 8], np.ones((3, 1), np.uint8), corpus_precision="ubinary")


@pytest.mark.parametrize("engine", ["faiss", "usearch"])
def test_the_extra_is_named(corpus: np.ndarray, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setitem(extras._MODULES, engine, "not_installed_here")
    with pytest.raises(MissingExtra, match=rf"semantic_search_{engine} needs .*pip install 'vicinal\[{engine}\]'"):
        OURS[engine](corpus, corpus)


def test_ranges(corpus: np.ndarray) -> None:
    np.testing.assert_array_equal(quantization_ranges(corpus), [corpus.min(axis=0), corpus.max(axis=0)], strict=True)
    for none in ([], np.empty((0, 3))):
        with pytest.raises(ValueError, match=r"ranges cannot be taken from no vectors|must be"):
            quantization_ranges(none)
