"""Random histories of an index against brute force in float64 over plain lists."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from tests import tiny
from vicinal import Index, SentenceTransformer
from vicinal.store.index import ann, builder, derived

DIMS = 13
keys = st.sampled_from([f"k{i}" for i in range(12)])
numbers = st.integers(0, 3)
seeds = st.integers(0, 6)
"""Few, so that equal vectors and equal scores are common."""


def vector(seed: int) -> NDArray[np.float32]:
    if seed == 0:
        return np.zeros(DIMS, np.float32)
    return np.random.default_rng(seed % 4).standard_normal(DIMS).astype(np.float32) * (1 + seed // 4)


def score(similarity: str, query: NDArray[Any], row: NDArray[Any]) -> float:
    q, c = query.astype(np.float64), row.astype(np.float64)
    if similarity == "cosine":
        lengths = np.linalg.norm(q) * np.linalg.norm(c)
        return float(np.clip(q @ c / lengths, -1, 1)) if lengths else 0.0
    return {"dot": lambda: q @ c, "euclidean": lambda: -np.linalg.norm(q - c), "manhattan": lambda: -abs(q - c).sum()}[
        similarity
    ]()  # fmt: skip


class History(RuleBasedStateMachine):
    """An index, and what it should hold: id, seed of the vector, metadata, in the order of their last vectors."""

    @initialize(
        similarity=st.sampled_from(["cosine", "dot", "euclidean", "manhattan"]),
        search=st.sampled_from(["auto", "int8"]),
    )
    def begin(self, similarity: str, search: Any) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.similarity = similarity
        self.model = SentenceTransformer(MODEL, similarity_fn_name=similarity)
        self.index = Index.create(
            self.folder / "index", self.model, search="auto" if similarity == "manhattan" else search
        )
        self.other = Index.open(self.folder / "index", self.model)
        self.rows: dict[str, tuple[int, int]] = {}

    @rule(found=st.dictionaries(keys, st.tuples(seeds, numbers), max_size=6))
    def put(self, found: dict[str, tuple[int, int]]) -> None:
        texts = [f"{seed} {n}" for seed, n in found.values()]
        vectors = np.array([vector(seed) for seed, _ in found.values()], np.float32).reshape(-1, DIMS)
        self.index.upsert(texts, list(found), [{"n": n} for _, n in found.values()], vectors=vectors)
        # A chunk that is replaced gets a new number: new documents come first, then the replaced ones.
        for key in [*(k for k in found if k not in self.rows), *(k for k in found if k in self.rows)]:
            self.rows.pop(key, None)
            self.rows[key] = found[key]

    @rule(gone=st.lists(keys, max_size=4))
    def delete(self, gone: list[str]) -> None:
        expected = {key for key in gone if key in self.rows}
        assert self.index.delete(gone) == len(expected)
        for key in expected:
            del self.rows[key]

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def optimize(self) -> None:
        self.index.optimize()

    @rule()
    def open_again(self) -> None:
        self.index.close()
        self.index = Index.open(self.folder / "index", self.model)

    @rule(seed=seeds, k=st.integers(1, 15), n=st.one_of(st.none(), numbers))
    def search(self, seed: int, k: int, n: int | None) -> None:
        query = vector(seed)
        found = [(key, score(self.similarity, query, vector(s))) for key, (s, m) in self.rows.items() if n in (None, m)]
        found.sort(key=lambda pair: -round(pair[1], 9))
        for index in (self.index, self.other):
            hits = index.search(query, k, None if n is None else {"n": n})
            assert [hit.id for hit in hits] == [key for key, _ in found[:k]]
            np.testing.assert_allclose([hit.score for hit in hits], [s for _, s in found[:k]], rtol=1e-12, atol=1e-12)

    @invariant()
    def it_holds_what_it_should(self) -> None:
        if hasattr(self, "index"):
            assert len(self.index) == len(self.rows)

    def teardown(self) -> None:
        if hasattr(self, "index"):
            assert self.index.verify() == []
            assert set(self.index.ids()) == set(self.rows)
            self.index.close()
            self.other.close()
            shutil.rmtree(self.folder)


MODEL = ""


@pytest.mark.parametrize("least", [1, 5, 4096])
def test_every_history_answers_as_brute_force(
    least: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    global MODEL
    MODEL = str(tiny.write_static(tmp_path_factory.mktemp("workload") / "model"))
    monkeypatch.setattr(builder, "LEAST", least)
    monkeypatch.setattr(derived, "ROWS", 3)
    monkeypatch.setattr(ann, "_ROWS", 3)
    monkeypatch.setattr(ann, "_TRY", {"int8": 1})
    monkeypatch.setattr(ann, "_FEWEST", {"int8": 2})
    monkeypatch.setattr(ann, "_MORE", 2)
    monkeypatch.setattr(ann, "_PART", 1)
    monkeypatch.setattr("os.fsync", lambda handle: None)  # the machine does not stop in this test
    History.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
    History.TestCase("runTest").runTest()
