"""Approximate search: what it finds is scored exactly, and it follows what is written."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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
    assert now.graph.kind == ("hnsw" if kind == "auto" else kind)
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


def test_manhattan_has_no_graph(create: Create, model: SentenceTransformer) -> None:
    measured = SentenceTransformer(model.name, similarity_fn_name="manhattan")
    with pytest.raises(ValueError, match="knows no manhattan distance: say search='exact'"):
        create(model=measured, search="hnsw")
