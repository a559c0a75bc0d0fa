from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.similarity import brute
from tests.similarity.brute import untimed
from vicinal.errors import NonFiniteEmbedding
from vicinal.similarity import clustering
from vicinal.util import community_detection


def definition(embeddings: np.ndarray, threshold: float, least: int) -> list[list[int]]:
    """All neighbourhoods, then greedily the largest, less what is taken."""
    cosines = brute.cosine(embeddings, embeddings)
    near = [[j for j in np.argsort(-row, kind="stable").tolist() if row[j] >= threshold] for row in cosines]
    taken: set[int] = set()
    found = []
    for centre in sorted(range(len(near)), key=lambda i: -len(near[i])):
        members = [j for j in near[centre] if j not in taken]
        if centre not in taken and len(near[centre]) >= least and len(members) >= least:
            found.append([centre, *(j for j in members if j != centre)])
            taken |= set(found[-1])
    return sorted(found, key=len, reverse=True)


def clustered(seed: int, n: int, noise: float = 0.5, groups: int = 8, d: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((groups, d))
    return centres[rng.integers(0, groups, n)] + noise * rng.standard_normal((n, d))


@pytest.mark.parametrize("batch_size", [1, 17, 1024])
def test_communities_are_the_peers(batch_size: int, peer: dict[str, np.ndarray]) -> None:
    for threshold, least, expected in json.loads(str(peer["communities"])):
        assert community_detection(peer["clustered"], threshold, least, batch_size) == expected, (threshold, least)


@untimed
@given(
    seed=st.integers(0, 9999),
    n=st.integers(1, 90),
    threshold=st.floats(-0.5, 0.99),
    least=st.integers(1, 12),
    batch_size=st.integers(1, 100),
)
def test_communities_are_the_definition(seed: int, n: int, threshold: float, least: int, batch_size: int) -> None:
    embeddings = clustered(seed, n)
    assert community_detection(embeddings, threshold, least, batch_size) == definition(embeddings, threshold, least)


def test_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "_SCORES", 31 * 31)
    embeddings = clustered(1, 400).astype(np.float32)
    expected = definition(embeddings.astype(np.float64), 0.7, 5)
    assert community_detection(embeddings, 0.7, 5) == expected
    assert len(expected) > 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [3, 64, 100])
def test_equal_vectors_reach_a_threshold_of_one(dtype: Any, d: int) -> None:
    rows = np.random.default_rng(2).standard_normal((20, d)).astype(dtype)
    embeddings = np.repeat(rows, 3, axis=0)
    expected = [[i, i + 1, i + 2] for i in range(0, 60, 3)]
    assert community_detection(embeddings, threshold=1.0, min_community_size=3) == expected


@pytest.mark.parametrize(("threshold", "size"), [(0.6, 2), (0.6 + 1e-9, 1)])
def test_the_threshold_itself_is_near_enough(threshold: float, size: int) -> None:
    embeddings = np.array([[1.0, 0.0], [3.0, 4.0]], np.float32)
    assert len(community_detection(embeddings, threshold, 1)[0]) == size


def test_list_and_zero_vectors() -> None:
    assert community_detection([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]], 0.5, 2) == [[0, 2]]
    assert community_detection([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]], 0.0, 3) == [[0, 2, 1]]


@pytest.mark.parametrize("embeddings", [[], np.empty((0, 3)), np.ones((9, 3)), np.ones(3)])
def test_too_few_vectors(embeddings: Any) -> None:
    assert community_detection(embeddings) == []


def test_one_vector_may_be_a_community() -> None:
    assert community_detection([1.0, 2.0], min_community_size=1) == [[0]]


@pytest.mark.parametrize("name", ["min_community_size", "batch_size"])
def test_numbers_below_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        community_detection(np.ones((3, 2)), **{name: 0})


def test_rows_that_are_not_finite() -> None:
    embeddings = np.ones((30, 2))
    embeddings[13, 1] = np.inf
    with pytest.raises(NonFiniteEmbedding, match="embeddings holds nan or infinity in row 13"):
        community_detection(embeddings, batch_size=4)


def test_memory_is_bounded() -> None:
    embeddings = np.random.default_rng(3).standard_normal((12_000, 4)).astype(np.float32)
    tracemalloc.start()
    communities = community_detection(embeddings, 0.3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(map(len, communities)) > 11_000
    assert peak < 120e6  # every row has thousands of neighbours: all at once have 200 MB, all scores 576 MB


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    community_detection(np.ones((20, 2)), show_progress_bar=True)
    assert "Finding communities: 100%" in capsys.readouterr().err
    community_detection(np.ones((20, 2)))
    assert capsys.readouterr().err == ""
