from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.similarity import brute
from tests.similarity.brute import untimed
from vicinal import util
from vicinal.errors import NonFiniteEmbedding
from vicinal.util import paraphrase_mining, paraphrase_mining_embeddings

SETTINGS: dict[str, dict[str, int]] = {"all": {}, "top_3": {"top_k": 3}, "best_40": {"max_pairs": 40, "top_k": 5}}


def definition(scores: np.ndarray, k: int, max_pairs: int) -> list[list[float | int]]:
    """Every pair of which one is among the k nearest of the other, best first."""
    pairs = set()
    for i, row in enumerate(scores):
        order = sorted((j for j in range(len(row)) if j != i), key=lambda j, row=row: (-row[j], j))
        pairs |= {(min(i, j), max(i, j)) for j in order[:k]}
    return sorted(([scores[i, j], i, j] for i, j in pairs), key=lambda row: (-row[0], row[1:]))[:max_pairs]


@pytest.mark.parametrize("name", ["cos_sim", "dot_score"])
@pytest.mark.parametrize("label", SETTINGS)
@pytest.mark.parametrize("chunks", [{}, {"query_chunk_size": 7, "corpus_chunk_size": 13}])
def test_pairs_are_the_peers(name: str, label: str, chunks: dict[str, int], peer: dict[str, np.ndarray]) -> None:
    rows = paraphrase_mining_embeddings(peer["mined"], score_function=getattr(util, name), **SETTINGS[label], **chunks)
    expected = peer[f"mining_{name}_{label}"]
    assert [row[1:] for row in rows] == expected[:, 1:].astype(int).tolist()
    np.testing.assert_allclose([row[0] for row in rows], expected[:, 0], rtol=1e-5, atol=1e-6)


def test_form_of_a_row() -> None:
    rows = paraphrase_mining_embeddings([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    assert rows == [[1.0, 0, 2], [0.0, 0, 1], [0.0, 1, 2]]
    assert [type(value) for value in rows[0]] == [float, int, int]


@untimed
@given(data=st.data())
def test_ties_go_to_the_lower_rows(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n, k, most = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 32)), data.draw(st.integers(1, 200))
    embeddings = rng.integers(-2, 3, (n, data.draw(st.integers(1, 4)))).astype(np.float32)
    rows = paraphrase_mining_embeddings(
        embeddings,
        query_chunk_size=data.draw(st.integers(1, 31)),
        corpus_chunk_size=data.draw(st.integers(1, 31)),
        max_pairs=most,
        top_k=k,
        score_function=util.dot_score,
    )
    # a dot product need not be greatest with oneself, and k + 1 neighbours are sought, oneself included if among them
    assert rows == _as_searched(brute.dot(embeddings, embeddings), k, most)


def _as_searched(scores: np.ndarray, k: int, most: int) -> list[list[float | int]]:
    found = brute.search(scores, k + 1)
    kept = np.full(scores.shape, -np.inf)
    for i, order in enumerate(found):
        for j in [j for j in order if j != i][:k]:
            kept[i, j] = scores[i, j]
    pairs = [(i, j) for i in range(len(scores)) for j in range(i + 1, len(scores))]
    near = [[float(scores[i, j]), i, j] for i, j in pairs if max(kept[i, j], kept[j, i]) > -np.inf]
    return sorted(near, key=lambda row: (-row[0], row[1:]))[:most]


@untimed
@given(seed=st.integers(0, 99), k=st.integers(1, 12), most=st.integers(1, 300))
def test_pairs_are_the_definition(seed: int, k: int, most: int) -> None:
    embeddings = np.random.default_rng(seed).standard_normal((40, 9))
    rows = paraphrase_mining_embeddings(embeddings, 11, 17, most, k)
    expected = definition(brute.cosine(embeddings, embeddings), k, most)
    assert [row[1:] for row in rows] == [row[1:] for row in expected]
    np.testing.assert_allclose([row[0] for row in rows], [row[0] for row in expected], atol=1e-14)


def test_own_score_function() -> None:
    embeddings = np.random.default_rng(1).standard_normal((30, 4))
    rows = paraphrase_mining_embeddings(embeddings, 7, 8, top_k=3, score_function=lambda a, b: brute.manhattan(a, b))
    expected = definition(brute.manhattan(embeddings, embeddings), 3, 500)
    assert rows == expected


@pytest.mark.parametrize("embeddings", [[], np.empty((0, 4)), np.ones((1, 4)), np.ones(4)])
def test_no_pairs(embeddings: Any) -> None:
    assert paraphrase_mining_embeddings(embeddings) == []


def test_zero_vectors() -> None:
    assert paraphrase_mining_embeddings(np.zeros((3, 2))) == [[0.0, 0, 1], [0.0, 0, 2], [0.0, 1, 2]]


@pytest.mark.parametrize("name", ["query_chunk_size", "corpus_chunk_size", "max_pairs", "top_k"])
def test_numbers_below_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        paraphrase_mining_embeddings(np.ones((3, 2)), **{name: 0})


def test_rows_that_are_not_finite() -> None:
    embeddings = np.ones((5, 2))
    embeddings[3] = np.nan
    with pytest.raises(NonFiniteEmbedding, match="embeddings holds nan or infinity in row 3"):
        paraphrase_mining_embeddings(embeddings, 2)


def test_memory_is_that_of_the_pairs_kept() -> None:
    embeddings = np.random.default_rng(2).standard_normal((6000, 8)).astype(np.float32)
    tracemalloc.start()
    rows = paraphrase_mining_embeddings(embeddings, query_chunk_size=500, max_pairs=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == 1000
    assert peak < 60e6  # 600,000 candidates, or 36 million scores of 144 MB


class Model:
    """Encodes a text as its letters' counts, and keeps what it was asked."""

    def encode(self, sentences: list[str], **options: Any) -> np.ndarray:
        self.options = options
        return np.array([[text.count(letter) for letter in "abc"] for text in sentences], np.float32)


def test_model_encodes() -> None:
    model = Model()
    rows = paraphrase_mining(
        model, ["aab", "cc", "aabaab", "b"], True, 7, max_pairs=2, truncate_dim=3, prompt_name="p", prompt="q"
    )
    assert rows == [[pytest.approx(1.0), 0, 2], [pytest.approx(5**-0.5), 0, 3]]
    assert model.options == {
        "show_progress_bar": True,
        "batch_size": 7,
        "convert_to_numpy": True,
        "truncate_dim": 3,
        "prompt_name": "p",
        "prompt": "q",
    }
