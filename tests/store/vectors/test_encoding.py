"""Tests of `SentenceTransformer.encode_to`: the vectors are those of `encode`, under the settings of the call."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.store.vectors.conftest import contents, corpus
from vicinal import SentenceTransformer
from vicinal.errors import InvalidInput, SourceChanged, SpaceMismatch, TextTooLong, TruncationWarning, Unavailable
from vicinal.store.vectors.reading import ShardedVectors, load_vectors

Load = Callable[..., SentenceTransformer]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize_embeddings": True},
        {"truncate_dim": 7, "normalize_embeddings": True},
        {"prompt": "query: "},
        {"batch_size": 3},
        {"batch_tokens": 50},
    ],
)
def test_vectors_are_those_of_encode(tmp_path: Path, bert: SentenceTransformer, options: dict[str, Any]) -> None:
    texts = corpus(130)
    found = bert.encode_to(tmp_path, iter(texts), shard_rows=50, truncation="ignore", **options)
    assert isinstance(found, ShardedVectors)
    np.testing.assert_allclose(np.asarray(found), bert.encode(texts, truncation="ignore", **options), atol=1e-5)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["prompt"] == options.get("prompt", "")
    assert manifest["dims"] == options.get("truncate_dim", 22)
    assert manifest["normalized"] == options.get("normalize_embeddings", False)
    assert (manifest["backend"], manifest["dtype"]) == ("openvino", "float32")
    assert (manifest["rows"], manifest["shards"], manifest["complete"]) == (130, 3, True)


def test_a_run_that_failed_is_gone_on_with_to_the_same_bytes(tmp_path: Path, bert: SentenceTransformer) -> None:
    texts = corpus(400)
    bert.encode_to(tmp_path / "whole", texts, shard_rows=60, truncation="ignore")

    def failing() -> Iterator[str]:
        yield from texts[:290]
        raise ConnectionError("the source is gone")

    with pytest.raises(ConnectionError):
        bert.encode_to(tmp_path / "parts", failing(), shard_rows=60, truncation="ignore")
    bert.encode_to(tmp_path / "parts", iter(texts), shard_rows=60, truncation="ignore")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_cache_does_not_change_the_bytes(tmp_path: Path, bert: SentenceTransformer) -> None:
    """What it gives was computed in other batches."""
    texts = corpus(100)
    whole = bert.encode_to(tmp_path / "whole", texts, truncation="ignore")
    cached = SentenceTransformer(bert._located.folder, dtype="float32", threads=1, cache=tmp_path / "cache.db")
    cached.name = bert.name
    for text in texts[:20]:
        cached.encode(text, truncation="ignore")
    found = cached.encode_to(tmp_path / "cached", texts, truncation="ignore")
    assert contents(found.folder) == contents(whole.folder)
    assert cached.cache is not None
    assert cached.cache.stats().hits == 0
    cached.close()


def test_settings_that_change_meanwhile_are_those_of_the_call(tmp_path: Path, static_model: Load) -> None:
    model, texts = static_model(prompts={"p": "tax "}), corpus(300)
    expected = model.encode(texts, prompt_name="p")

    def changing() -> Iterator[str]:
        for i, text in enumerate(texts):
            if i == 150:
                model.truncate_dim, model.prompts = 3, {"p": "law "}
            yield text

    found = model.encode_to(tmp_path, changing(), prompt_name="p", shard_rows=50)
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_defaults_of_the_model_count(tmp_path: Path, static_model: Load) -> None:
    model = static_model(prompts={"p": "tax "}, default_prompt_name="p", truncate_dim=6)
    found = model.encode_to(tmp_path, corpus(10))
    np.testing.assert_array_equal(np.asarray(found), model.encode(corpus(10)))
    assert found.shape == (10, 6)
    assert json.loads((tmp_path / "manifest.json").read_text())["fingerprint"] == model.fingerprint
    with pytest.raises(SourceChanged, match="these have prompt '', not 'tax '"):
        model.encode_to(tmp_path, corpus(10), prompt="")


def test_another_model_is_refused(tmp_path: Path, static_model: Load, bert: SentenceTransformer) -> None:
    static_model().encode_to(tmp_path, corpus(10))
    with pytest.raises(SpaceMismatch, match=r"was begun with model \(space .*, 13 dims\); this model is bert \(space"):
        bert.encode_to(tmp_path, corpus(10), truncation="ignore")
    with pytest.raises(SpaceMismatch, match="6 dims"):
        static_model().encode_to(tmp_path, corpus(10), truncate_dim=6)


def test_messages_count_rows_from_the_beginning(tmp_path: Path, bert: SentenceTransformer) -> None:
    texts: list[Any] = ["tax"] * 130
    with pytest.raises(InvalidInput, match="row 120 is None, not a text"):
        bert.encode_to(tmp_path / "a", [*texts[:120], None], shard_rows=50)
    with pytest.raises(InvalidInput, match="row 120 holds half of a surrogate pair"):
        bert.encode_to(tmp_path / "b", [*texts[:120], "\ud800"], shard_rows=50)
    long = [*texts[:120], "tax " * 50]
    with pytest.warns(TruncationWarning, match=r"row 120 \(52 tokens\)"):
        bert.encode_to(tmp_path / "c", long, shard_rows=50)
    with pytest.raises(TextTooLong, match=r"row 120 \(52 tokens\)"):
        bert.encode_to(tmp_path / "d", long, shard_rows=50, truncation="error")
    assert len((tmp_path / "d" / "shards.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "csv"}, "format must be one of 'npy', 'parquet', not 'csv'"),
        ({"shard_rows": 0}, "shard_rows must be a positive integer, not 0"),
        ({"shard_rows": True}, "shard_rows must be a positive integer, not True"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"truncation": "no"}, "truncation must be one of"),
        ({"prompt_name": "poem"}, "there is no prompt named 'poem'"),
    ],
)
def test_wrong_calls_write_nothing(tmp_path: Path, static_model: Load, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        static_model().encode_to(tmp_path / "a", corpus(10), **wrong)
    assert not (tmp_path / "a").exists()


def test_a_text_is_no_stream(tmp_path: Path, static_model: Load) -> None:
    with pytest.raises(InvalidInput, match="a stream is an iterable of texts"):
        static_model().encode_to(tmp_path, "one text")


def test_progress(tmp_path: Path, static_model: Load, capsys: pytest.CaptureFixture[str]) -> None:
    for texts in (corpus(20), iter(corpus(20))):
        static_model().encode_to(tmp_path, texts, show_progress_bar=True)
        assert "20" in capsys.readouterr().err
    static_model().encode_to(tmp_path, corpus(20))
    assert capsys.readouterr().err == ""


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    model = SentenceTransformer()
    peaks = []
    for rows in (3_000, 30_000):  # 3 and 30 MB of vectors
        tracemalloc.start()
        model.encode_to(tmp_path / str(rows), (f"text {i % 100}" for i in range(rows)), shard_rows=1000)
        load_vectors(tmp_path / str(rows)).verify()  # type: ignore[union-attr]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2e6


def test_a_pool_computes_the_same_batches(tmp_path: Path) -> None:
    model = SentenceTransformer(tiny.write_static(tmp_path / "model"), cache=str(tmp_path / "cache.db"), threads=1)
    texts = corpus(2500)
    model.encode_to(tmp_path / "one", texts, shard_rows=2200)
    with model.start_multi_process_pool(["cpu"]) as pool:
        model.encode_to(tmp_path / "pool", texts[:2300], shard_rows=2200, pool=pool)
        model.encode_to(tmp_path / "pool", texts, shard_rows=2200, pool=pool)  # goes on
        assert contents(tmp_path / "pool") == contents(tmp_path / "one")
        assert model.cache is not None
        assert model.cache.stats().misses == 0  # nobody asked
        with pytest.raises(InvalidInput, match="row 2201"):
            model.encode_to(tmp_path / "half", [*texts[:2201], "bro\ud800ken"], shard_rows=2200, pool=pool)
        other = SentenceTransformer(tiny.write_static(tmp_path / "other", seed=9))
        with pytest.raises(SpaceMismatch, match="the processes of this pool hold another model"):
            other.encode_to(tmp_path / "other", texts, pool=pool)
    model.encode_to(tmp_path / "devices", texts, shard_rows=2200, device=["cpu"])
    assert contents(tmp_path / "devices") == contents(tmp_path / "one")
    with pytest.raises(Unavailable, match="device='cuda'"):
        model.encode_to(tmp_path / "cuda", texts, device="cuda")
    with pytest.raises(InvalidInput, match="pool must come from"):
        model.encode_to(tmp_path / "none", texts, pool=object())
