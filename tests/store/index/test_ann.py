"""Approximate search: what it finds is scored exactly, and it follows what is written."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import tiny
from vicinal import Index, SentenceTransformer
from vicinal.errors import IndexWarning, MissingExtra
from vicinal.store.index import ann, builder, derived

Create = Callable[..., Index]
DIMS, ROWS = 13, 2000


def clustered(rows: int, seed: int) -> NDArray[np.float32]:
    """As texts are: around some centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((20, DIMS))
    return (centres[rng.integers(20, size=rows)] + 0.4 * rng.standard_normal((rows, DIMS))).astype(np.float32)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "LEAST", 100)
    monkeypatch.setattr(builder, "MANY", 500)


def recall(index: Index, queries: NDArray[np.float32], k: int = 10) -> float:
    found = index.search(queries, k)
    truth = index.search(queries, k, exact=True)
    for near, all_ in zip(found, truth, strict=True):
        assert len(near) == k
        scores = {hit.id: hit.score for hit in all_}
        assert all(hit.score == scores.get(hit.id, hit.score) for hit in near), "scores are exact"
        assert [hit.score for hit in near] == sorted((hit.score for hit in near), reverse=True)
    return float(np.mean([len({h.id for h in a} & {h.id for h in b}) / k for a, b in zip(found, truth, strict=True)]))


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("kind", ["hnsw", "ivf", "auto"])
def test_what_a_graph_finds(create: Create, model: SentenceTransformer, kind: str, similarity: str) -> None:
    measured = SentenceTransformer(model.name, similarity_fn_name=similarity)
    index = create(model=measured, search=kind)
    ids = [str(i) for i in range(ROWS)]
    index.add(ids, ids, vectors=clustered(ROWS, 0) * (1 if similarity == "cosine" else 3))
    index.optimize()
    queries = clustered(50, 1)
    assert recall(index, queries) >= 0.9
    now: Any = index._searcher._view
    assert now.structure.kind == ("hnsw" if kind == "auto" else kind)
    index.delete(ids[::3])
    index.add(["later"], ["later"], vectors=queries[:1] * 5)
    hits = index.search(queries[0], 3)
    assert hits[0].id == "later" or similarity == "euclidean"
    assert all(int(hit.id) % 3 for hits in index.search(queries, 10) for hit in hits if hit.id != "later")
    index.optimize()
    assert recall(index, queries) >= 0.9
    assert index.verify() == []
    assert len(index.search(queries[0], ROWS)) == len(index)


def test_a_graph_grows_with_what_is_added(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    index = create(search="hnsw")
    index.add([str(i) for i in range(ROWS)], vectors=clustered(ROWS, 0))
    index.optimize()
    monkeypatch.setattr(ann, "_empty", lambda *a: pytest.fail("it was begun anew"))
    index.add([str(i) for i in range(300)], vectors=clustered(300, 2))
    index.optimize()
    assert recall(index, clustered(30, 1)) >= 0.9
    index.close()
    with Index.open(index.path) as again:
        assert recall(again, clustered(30, 1)) >= 0.9


def test_a_damaged_graph_is_passed_over_and_made_anew(create: Create) -> None:
    index = create(search="hnsw")
    index.add([str(i) for i in range(ROWS)], vectors=clustered(ROWS, 0))
    index.optimize()
    index.close()
    (made,) = derived.folders(index.path)
    data = bytearray((made / "graph.faiss").read_bytes())
    data[len(data) // 2] ^= 1
    (made / "graph.faiss").write_bytes(data)
    with Index.open(index.path) as again:
        assert str(made) in again.verify()[0]
        with pytest.warns(IndexWarning, match=r"graph.faiss is not as it was written: until it is made anew"):
            found = again.search(clustered(1, 1)[0], 5)
        assert found == again.search(clustered(1, 1)[0], 5, exact=True)
        again.optimize()
        assert again.verify() == [], "the builder has made it anew"
        assert again.rebuild() == []
        assert again.verify() == []


def test_without_faiss_every_vector_is_looked_at(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(extra: str, purpose: str) -> Any:
        raise MissingExtra(f"{purpose} needs faiss, which is not installed: pip install 'vicinal[faiss]'")

    index = create()
    index.add([str(i) for i in range(ROWS)], vectors=clustered(ROWS, 0))
    index.optimize()
    index.close()
    with Index.open(index.path) as reader:
        expected = reader.search(clustered(5, 1), 5, exact=True)
    monkeypatch.setattr(builder, "require", missing)
    monkeypatch.setattr(ann, "require", missing)
    with Index.open(index.path) as reader, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert reader.search(clustered(5, 1), 5) == expected
        assert reader.search(clustered(5, 1), 5) == expected
    assert [str(one.message).partition(" needs")[2] for one in told] == [
        " faiss, which is not installed: pip install 'vicinal[faiss]'. Until then every vector is looked at"
    ] * 2
    alone = create("alone")
    with pytest.warns(IndexWarning, match=r"needs faiss, .*Until then every vector is looked at"):
        alone.add([str(i) for i in range(ROWS)], vectors=clustered(ROWS, 0))
    alone.optimize()  # told once
    alone._builder.join()
    assert len(derived.folders(alone.path)) == 1
    assert alone.search(clustered(5, 1), 5)[0][0].score == expected[0][0].score


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("shape", ["clustered", "uneven", "close"])
def test_int8_finds_what_an_exact_search_does(
    create: Create, model: SentenceTransformer, similarity: str, shape: str
) -> None:
    index = create(model=SentenceTransformer(model.name, similarity_fn_name=similarity), search="int8")
    vectors = clustered(ROWS, 0)
    if shape == "uneven":  # a dimension that is a hundred times wider
        vectors[:, 3] *= 100
    if shape == "close":  # most of them nearer to one another than a step
        vectors[: ROWS - 50] = vectors[0] + 1e-3 * np.random.default_rng(5).standard_normal((ROWS - 50, DIMS))
    vectors[7::40] = vectors[7]  # equal scores
    ids = [str(i) for i in range(ROWS)]
    index.add(ids, ids, vectors=vectors)
    index.optimize()
    queries = np.concatenate([vectors[:3], vectors[7:8], clustered(10, 1), np.zeros((1, DIMS), np.float32)])
    assert index.search(queries, 10) == index.search(queries, 10, exact=True)
    index.delete(ids[::3])
    index.add(["later"], ["later"], vectors=queries[:1] * 5)
    assert index.search(queries, 10) == index.search(queries, 10, exact=True)
    structure = index._searcher._view.structure  # type: ignore[union-attr]
    assert structure is not None
    assert structure.kind == "int8"
    assert index.verify() == []


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_int8_looks_further_where_a_step_hides_the_best(
    create: Create, model: SentenceTransformer, similarity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors = np.zeros((ROWS, DIMS), np.float32)
    vectors[:, 0] = 1
    vectors[:, 1] = rng.permutation(ROWS) * (1e-3 / ROWS)  # all within a step, which is of the range that follows
    vectors[:20, 1] = np.linspace(-1, -0.2, 20)
    vectors[20] = np.eye(DIMS)[1]
    index = create(model=SentenceTransformer(model.name, similarity_fn_name=similarity), search="int8")
    index.add(list(map(str, range(ROWS))), vectors=vectors)
    index.optimize()
    query = np.eye(DIMS)[0] + 0.0008 * np.eye(DIMS)[1]
    expected = index.search(query, 5, exact=True)
    assert index.search(query, 5) == expected
    monkeypatch.setattr(ann.Structure, "_reach", lambda self, ready, worst: np.full(len(worst), -np.inf))
    assert index.search(query, 5) != expected, "the bound is what finds the rest"


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_binary_finds_nearly_all(create: Create, tmp_path: Path, similarity: str) -> None:
    folder = tiny.write_static(tmp_path / "wide", width=125)
    index = create(model=SentenceTransformer(folder, similarity_fn_name=similarity), search="binary")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((30, 125))
    vectors = (centres[rng.integers(30, size=ROWS)] + 0.7 * rng.standard_normal((ROWS, 125))).astype(np.float32)
    ids = [str(i) for i in range(ROWS)]
    index.add(ids, ids, vectors=vectors)
    index.optimize()
    queries = (vectors[:40] + 0.5 * rng.standard_normal((40, 125))).astype(np.float32)
    assert recall(index, queries) >= 0.9
    index.delete(ids[::3])
    assert all(int(hit.id) % 3 for hits in index.search(queries, 10) for hit in hits)
    assert recall(index, queries) >= 0.9
    index.close()
    with Index.open(index.path) as again:
        assert recall(again, queries) >= 0.9
        assert again._searcher._view.structure.kind == "binary"  # type: ignore[union-attr]
        assert again.verify() == []


@pytest.mark.parametrize(
    ("similarity", "search"), [("manhattan", "hnsw"), ("manhattan", "int8"), ("euclidean", "binary")]
)
def test_what_a_structure_does_not_know(
    create: Create, model: SentenceTransformer, similarity: str, search: str
) -> None:
    measured = SentenceTransformer(model.name, similarity_fn_name=similarity)
    with pytest.raises(ValueError, match=f"search='{search}' knows no {similarity} distance: say search='exact'"):
        create(model=measured, search=search)
