"""Tests of vicinal.store.vectors.reading."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.store.vectors.conftest import Computed, corpus, expected, settings
from tests.store.vectors.test_writing import spoil
from vicinal import SentenceTransformer
from vicinal.errors import DamagedVectors, DimensionMismatch, SpaceMismatch, VectorsNotFound
from vicinal.store.vectors.reading import ShardedVectors, load_vectors
from vicinal.store.vectors.writing import write_vectors
from vicinal.util import semantic_search

Load = Callable[..., SentenceTransformer]
ROWS = 230


@pytest.fixture(scope="module", params=["npy", "parquet"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "vectors"
    write_vectors(path, iter(corpus(ROWS)), settings(format=request.param, shard_rows=50), Computed())
    return path


def load(folder: Path, **options: Any) -> ShardedVectors:
    found = load_vectors(folder, **options)
    assert isinstance(found, ShardedVectors)
    return found


@pytest.mark.parametrize(
    "key",
    [
        0, -1, 49, 50, np.int64(229), slice(None), slice(10, 20), slice(45, 160), slice(50, 100), slice(100, 100),
        slice(20, 10), slice(None, None, 3), slice(None, None, -1), slice(-30, None), slice(200, 999), slice(500, 600),
        [3, 229, -1, 3, 50], [], np.arange(ROWS) % 7 == 0, np.array([True] * ROWS), (slice(40, 60), slice(1, 3)),
        (5, 2),
    ],
)  # fmt: skip
def test_it_is_indexed_like_an_array(folder: Path, key: Any) -> None:
    np.testing.assert_array_equal(load(folder)[key], expected(corpus(ROWS))[key])


@hypothesis_settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-ROWS, ROWS - 1), max_size=30), st.slices(ROWS))
def test_any_rows(folder: Path, rows: list[int], part: slice) -> None:
    whole, found = expected(corpus(ROWS)), load(folder)
    np.testing.assert_array_equal(found[rows], whole[rows])
    np.testing.assert_array_equal(found[part], whole[part])


def test_it_is_like_an_array(folder: Path) -> None:
    whole, found = expected(corpus(ROWS)), load(folder)
    assert (found.shape, found.ndim, found.size, found.dtype) == (whole.shape, 2, whole.size, whole.dtype)
    assert len(found) == ROWS
    np.testing.assert_array_equal(np.asarray(found), whole, strict=True)
    np.testing.assert_array_equal(np.asarray(found, np.float64), whole.astype(np.float64), strict=True)
    np.testing.assert_array_equal(list(found), whole)
    assert [len(shard) for shard in found.shards()] == [50, 50, 50, 50, 30]
    assert repr(found) == f"ShardedVectors({str(folder)!r}, shape=(230, 5), model='some-model')"
    with pytest.raises(ValueError, match="an array of them is a copy"):
        np.asarray(found, copy=False)


@pytest.mark.parametrize(
    "key", [ROWS, -ROWS - 1, [ROWS], [0, -ROWS - 1], [True, False], 1.5, [1.5], [[1]], "a", None, ...]
)
def test_what_is_no_row(folder: Path, key: Any) -> None:
    with pytest.raises(IndexError):
        load(folder)[key]


def test_nothing_is_copied_within_a_shard(folder: Path) -> None:
    found = load(folder)
    part = found[60:90]
    assert not part.flags.writeable
    assert np.shares_memory(part, found[50:100])


def test_few_shards_are_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicinal.store.vectors.reading._OPEN", {"npy": 2, "parquet": 2})
    found = load(folder)
    np.testing.assert_array_equal(np.asarray(found), expected(corpus(ROWS)))
    assert len(found._open) == 2


@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_a_shard_of_another_size_is_named_at_once(tmp_path: Path, damage: str) -> None:
    write_vectors(tmp_path, iter(corpus(250)), settings(), Computed())
    spoil(tmp_path / "00001.npy", damage)
    said = "is gone" if damage == "gone" else r"has \d+ bytes, not 2128"
    for verify in (True, False):
        with pytest.raises(DamagedVectors, match=rf"00001\.npy {said}\. Encode the same texts into it again"):
            load_vectors(tmp_path, verify=verify)


def test_a_bit_that_turned_is_named_when_its_shard_is_read(tmp_path: Path) -> None:
    write_vectors(tmp_path, iter(corpus(250)), settings(), Computed())
    spoil(tmp_path / "00001.npy", "flipped")
    found = load(tmp_path)
    np.testing.assert_array_equal(found[:100], expected(corpus(100)))
    for read in (lambda: found[150], lambda: found[50:160], lambda: found[[150]], lambda: np.asarray(found),
                 found.verify):  # fmt: skip
        with pytest.raises(DamagedVectors, match=r"00001\.npy is not as it was written: its checksum is another"):
            read()
    assert load(tmp_path, verify=False)[150].shape == (5,)
    write_vectors(tmp_path, iter(corpus(250)), settings(), Computed())
    load(tmp_path).verify()


def test_the_model_must_be_the_one(tmp_path: Path, static_model: Load, bert: SentenceTransformer) -> None:
    model = static_model()
    model.encode_to(tmp_path, corpus(20), truncate_dim=6)
    load_vectors(tmp_path, static_model(truncate_dim=6))
    with pytest.raises(SpaceMismatch) as caught:
        load_vectors(tmp_path, model)
    theirs = static_model(truncate_dim=6).fingerprint
    assert str(caught.value) == (
        f"{tmp_path} holds vectors of model (space {theirs[:12]}, 6 dims); this model is model (space "
        f"{model.fingerprint[:12]}, 13 dims). Load the model that made them, with truncate_dim=6 where that was set, "
        "or encode the texts again"
    )
    with pytest.raises(SpaceMismatch, match="22 dims"):
        load_vectors(tmp_path, bert)


def test_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(VectorsNotFound, match=r"holds no vectors: it has no manifest\.json"):
        load_vectors(tmp_path)
    with pytest.raises(VectorsNotFound, match="is not there"):
        load_vectors(tmp_path / "a.npy")


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_a_corpus_can_be_searched_where_it_is(tmp_path: Path, static_model: Load, format: Any) -> None:
    model, texts = static_model(), corpus(120)
    found = model.encode_to(tmp_path, texts, shard_rows=50, format=format)
    queries = model.encode(texts[::40])
    assert semantic_search(queries, found) == semantic_search(queries, model.encode(texts))
    with pytest.raises(DimensionMismatch, match=r"corpus_embeddings has shape \(120, 13\)"):
        semantic_search(queries[:, :5], found)


def test_a_search_does_not_load_it(tmp_path: Path) -> None:
    rows = 80_000  # 82 MB
    model = SentenceTransformer()
    found = model.encode_to(tmp_path, (f"text {i}" for i in range(rows)), shard_rows=5000)
    queries = model.encode(["text 17", "text 79000"])
    tracemalloc.start()
    hits = semantic_search(queries, found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [one[0]["corpus_id"] for one in hits] == [17, 79000]
    assert peak < 41e6
