"""What an index does for who uses it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from tests import tiny
from vicinal import Index, Retriever, SentenceTransformer
from vicinal.errors import (
    DamagedIndex,
    DimensionMismatch,
    DuplicateId,
    IndexBusy,
    IndexExists,
    IndexNotFound,
    IndexWarning,
    InvalidInput,
    NonFiniteEmbedding,
    SpaceMismatch,
)
from vicinal.store.index import Document, builder, schema

Create = Callable[..., Index]


def test_search_finds_what_is_nearest(index: Index, model: SentenceTransformer) -> None:
    texts = ["red apple", "tax law", "the green apple"]
    expected = model.similarity(model.encode_query("apple"), model.encode_document(texts))[0]
    hits = index.search("apple", top_k=3)
    order = np.argsort(-expected, kind="stable")
    assert [hit.text for hit in hits] == [texts[i] for i in order]
    np.testing.assert_allclose([hit.score for hit in hits], expected[order], atol=1e-6)
    assert {hit.id: hit.metadata for hit in hits} == {"a": {"n": 1}, "b": {"n": 2, "s": "x"}, "c": {}}
    assert all(hit.span is None and hit.scores == {"dense": hit.score} for hit in hits)


def test_queries_of_every_kind(index: Index, model: SentenceTransformer) -> None:
    vectors = model.encode_query(["apple", "law"])
    batch = index.search(["apple", "law"], top_k=2)
    assert batch == index.search(vectors, top_k=2) == [index.search("apple", 2), index.search(vectors[1].tolist(), 2)]
    assert index.search([], 3) == []
    assert [hit.id for hit in index.search("apple", 1, {"n": {">=": 2}})] == ["b"]
    assert index.search("apple", 1, {"n": 9}) == []
    with pytest.raises(DimensionMismatch, match=r"must have 13 dimensions; this has shape \(2,\)"):
        index.search([1.0, 2.0])
    with pytest.raises(ValueError, match="top_k must be a positive integer, not 0"):
        index.search("apple", 0)
    with pytest.raises(InvalidInput, match="a query must be a text"):
        index.search([["a", None]])
    with pytest.raises(NonFiniteEmbedding):
        index.search(np.full(13, np.nan))


def test_an_index_is_a_first_stage(index: Index) -> None:
    found = Retriever(None, index).search(["apple", "law"], top_k=2)
    assert found == index.search(["apple", "law"], top_k=2)
    assert len(Retriever(None, index)) == 3


def test_open_finds_the_model_again(index: Index, tmp_path: Path) -> None:
    before = index.search("apple")
    index.close()
    with Index.open(tmp_path / "docs.vicinal") as again:
        assert again.search("apple") == before
        assert len(again) == 3
        assert again.ids() == ["a", "b", "c"]


def test_long_documents_are_found_by_their_best_chunk(create: Create) -> None:
    index = create(chunk_tokens=9)
    long = "red apple the law. " * 3 + "green tax green tax green tax."
    index.add([long, "law law"], ["long", "short"])
    hits = index.search("green tax", top_k=5)
    assert [hit.id for hit in hits] == ["long", "short"]
    start, stop = hits[0].span
    assert hits[0].text == long[start:stop]
    assert "green" in hits[0].text
    each = index.search("green tax", top_k=50, chunks=True)
    assert len(each) == index.info()["chunks"] > 2
    assert index.search("green tax", top_k=2, chunks=True) == each[:2]
    assert sum(hit.id == "long" for hit in each) == len(each) - 1


def test_upsert_embeds_only_texts_that_are_new(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = index.model.encode_document
    monkeypatch.setattr(index.model, "encode_document", lambda texts, **o: seen.extend(texts) or real(texts, **o))
    changed = index.upsert(["red apple", "law of tax", "new"], ["a", "b", "d"], [{"n": 1}, None, {"n": 4}])
    assert seen == ["law of tax", "new"]
    assert changed == 2
    assert index.ids() == ["a", "b", "c", "d"]
    assert index.get("b") == Document("b", "law of tax", {})
    assert index.upsert(["red apple"], ["a"], [{"n": 7}]) == 1
    assert seen == ["law of tax", "new"]
    assert index.search("red apple", 1, {"n": 7})[0].id == "a"
    assert index.search("red apple", 1, {"n": 1}) == []
    assert index.verify() == []


def test_delete_and_get(index: Index) -> None:
    assert index.delete(["a", "nope", "a"]) == 1
    assert index.delete("nope") == 0
    assert index.get(["a", "b"]) == [None, Document("b", "tax law", {"n": 2, "s": "x"})]
    assert index.get("a") is None
    assert {hit.id for hit in index.search("red apple")} == {"b", "c"}
    assert index.add(["red apple"], ["a"]) == ["a"]
    assert [one.id for one in index.documents()] == ["b", "c", "a"]
    assert index.verify() == []


def test_an_add_is_all_or_nothing(index: Index) -> None:
    with pytest.raises(DuplicateId, match="a document 'b' is there already: upsert replaces"):
        index.add(["x", "y"], ["z", "b"])
    with pytest.raises(DuplicateId, match="the id 'z' is given twice, in rows 0 and 1"):
        index.add(["x", "y"], ["z", "z"])
    with pytest.raises(InvalidInput, match="row 1: the text is None, not a text"):
        index.add(["x", None])  # type: ignore[list-item]
    index.add(["x"], ids=["np"], metadata=[{"n": np.int64(7), "ok": np.bool_(True), "f": np.float32(0.5)}])
    (found,) = index.get(["np"])
    assert found is not None
    assert found.metadata == {"n": 7, "ok": True, "f": 0.5}
    assert [hit.id for hit in index.search("x", where={"n": 7})] == ["np"]
    index.delete("np")
    with pytest.raises(InvalidInput, match=r"row 0: metadata\['a'\] is of type set"):
        index.add(["x"], metadata=[{"a": {1}}])
    with pytest.raises(ValueError, match="there are 2 texts, but 1 ids"):
        index.add(["x", "y"], ["z"])
    with pytest.raises(DimensionMismatch, match=r"vectors must have shape \(1, 13\), not \(2, 3\)"):
        index.add(["x"], vectors=np.zeros((2, 3)))
    with pytest.raises(NonFiniteEmbedding):
        index.add(["x"], vectors=np.full((1, 13), np.inf))
    assert index.ids() == ["a", "b", "c"]
    assert index.add([]) == []


def test_vectors_that_the_caller_has(create: Create) -> None:
    index = create()
    vectors = np.random.default_rng(0).standard_normal((4, 13))
    ids = index.add(list("abcd"), vectors=vectors)
    assert len(set(ids)) == 4
    assert index.search(vectors[2], 1)[0].id == ids[2]
    index.upsert(["c"], [ids[2]], vectors=-vectors[2:3])
    assert index.search(vectors[2], 4)[-1].id == ids[2]


@pytest.mark.filterwarnings("ignore::vicinal.errors.ZeroVectorWarning")
def test_documents_without_text_are_kept_and_told(create: Create) -> None:
    with create() as index:
        with pytest.warns(IndexWarning, match="2 of 3 documents have no text, the first is 'none'"):
            index.add(["", "tea", " \n"], ids=["none", "tea", "blank"])
        assert [one.text for one in index.get(["none", "blank"])] == ["", " \n"]
        index.upsert([""], ["given"], vectors=np.ones((1, index.info()["dims"]), np.float32))  # of a picture, say
        with pytest.warns(IndexWarning, match="1 of 2 documents have no text, the first is 'tea'"):
            index.upsert(["", "x"], ["tea", "none"], vectors=None)


def test_what_is_there_already_is_not_touched(index: Index, model: SentenceTransformer, tmp_path: Path) -> None:
    with pytest.raises(IndexExists, match=r"docs.vicinal is there already"):
        Index.create(tmp_path / "docs.vicinal", model)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(IndexExists):
        index.backup(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(IndexNotFound, match=r"there is no index at .*nowhere"):
        Index.open(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.db").write_bytes(b"no database at all, but long enough to look at" * 50)
    with pytest.raises(DamagedIndex, match=r"is damaged: file is not a database\. Nothing here mends"):
        Index.open(tmp_path / "other")
    sqlite3.connect(tmp_path / "empty.db").close()
    assert not list(tmp_path.glob(".*.new"))


def test_another_model_is_refused(index: Index, model: SentenceTransformer, tmp_path: Path) -> None:
    other = SentenceTransformer(tiny.write_static(tmp_path / "other", seed=1))
    with pytest.raises(SpaceMismatch) as caught:
        Index.open(index.path, other)
    message = str(caught.value)
    assert f"was built with {index._space.described}; this model is {other.name} (space " in message
    assert f"vicinal index rebuild {index.path} --model" in message
    with Index.open(index.path, model) as same:
        assert len(same) == 3
    prompted = SentenceTransformer(model.name, prompts={"query": "query: "})
    with pytest.raises(SpaceMismatch, match=r"built with the prompt '' for queries; this .* has 'query: '"):
        Index.open(index.path, prompted)


def test_rebuild_with_another_model(index: Index, tmp_path: Path) -> None:
    other = SentenceTransformer(tiny.write_static(tmp_path / "other", width=7, seed=1))
    with Index.open(index.path) as reader:
        reader.search("apple")
        assert index.rebuild(other) == []
        with pytest.raises(SpaceMismatch, match="was rebuilt since it was opened"):
            reader.search(np.zeros(13))
        with pytest.raises(SpaceMismatch, match="was rebuilt since it was opened"):
            reader.add(["x"])
    assert index.verify() == []
    expected = other.similarity(other.encode("apple"), other.encode(["red apple", "tax law", "the green apple"]))
    np.testing.assert_allclose([hit.score for hit in index.search("apple")], -np.sort(-expected[0]), atol=1e-6)
    with Index.open(index.path) as again:
        assert again.search("apple") == index.search("apple")


def test_a_second_writer_waits_and_then_is_told(index: Index) -> None:
    with Index.open(index.path, timeout=0.05) as second:
        with index._database.writing() as transaction:
            transaction.remove([1])
            with pytest.raises(IndexBusy, match="another process or thread is writing to the index at"):
                second.delete("b")
            assert len(second) == 3, "readers see what is committed"
        assert len(second) == 2
        assert second.delete("b") == 1


def test_threads_write_one_after_another(index: Index) -> None:
    threads = [threading.Thread(target=lambda n=n: [index.add([f"apple {n} {i}"]) for i in range(5)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index) == 23
    assert index.verify() == []


def test_threads_search_while_one_writes(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "LEAST", 20)
    index = create()
    vectors = np.random.default_rng(0).standard_normal((10, 13))
    ids = [f"0/{i}" for i in range(10)]
    index.add(ids, ids, vectors=vectors)
    done, failed = threading.Event(), []

    def search() -> None:
        try:
            while not done.is_set():
                hits = index.search(vectors[0], 1000)
                assert len(hits) % 10 == 0, "part of a write is seen"
                assert all(hit.id == hit.text for hit in hits)
        except BaseException as error:  # noqa: BLE001  told below, in the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(1, 30):
        ids = [f"{turn}/{i}" for i in range(10)]
        index.add(ids, ids, vectors=vectors)
        index.delete([f"{turn - 3}/{i}" for i in range(10)])
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []


def test_export_and_backup(index: Index, tmp_path: Path, model: SentenceTransformer) -> None:
    assert index.export(tmp_path / "all.jsonl") == 3
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert lines[1] == {"id": "b", "text": "tax law", "metadata": {"n": 2, "s": "x"}}
    assert index.export(tmp_path / "all.parquet") == 3
    rows = pyarrow.parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    np.testing.assert_array_equal(
        np.array([row["vector"] for row in rows], np.float32), model.encode([row["text"] for row in rows])
    )
    with pytest.raises(ValueError, match=r"exported to .jsonl or .parquet, not to 'all.txt'"):
        index.export(tmp_path / "all.txt")
    index.backup(tmp_path / "copy")
    index.delete(["a"])
    with Index.open(tmp_path / "copy") as copy:
        assert copy.ids() == ["a", "b", "c"]
        assert copy.verify() == []


def test_compact_keeps_what_is_there(create: Create) -> None:
    index = create()
    index.add([f"apple {i}" for i in range(300)], [str(i) for i in range(300)])
    index.delete([str(i) for i in range(0, 300, 2)])
    before = index.search("apple 7", 20)
    with index._database.snapshot() as (db, _):
        (pages,) = db.execute("PRAGMA page_count").fetchone()
    with Index.open(index.path) as reader:
        assert reader.search("apple 7", 20) == before
        index.compact()
        assert reader.search("apple 7", 20) == index.search("apple 7", 20) == before
    with index._database.snapshot() as (db, _):
        assert db.execute("PRAGMA page_count").fetchone()[0] < pages
    assert index.verify() == []
    assert [path.name for path in (index.path / "derived").iterdir() if path.is_dir()] != []


def test_a_closed_index_says_so(index: Index) -> None:
    index.close()
    index.close()
    for call in (lambda: index.search(np.zeros(13)), lambda: len(index), lambda: index.add(["x"])):
        with pytest.raises(ValueError, match="is closed; open it again"):
            call()


def test_a_later_format_is_refused(index: Index) -> None:
    index.close()
    db = sqlite3.connect(index.path / schema.FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(DamagedIndex, match="is of format 99; this vicinal knows formats up to 1"):
        Index.open(index.path)


def test_a_full_disk_loses_nothing(index: Index) -> None:
    with index._database.writing() as transaction:
        db = transaction.db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(OSError, match="no room on the disk"):
        index.add([f"apple {i}" * 50 for i in range(500)])
    assert index.ids() == ["a", "b", "c"]
    assert index.verify() == []
    db.execute("PRAGMA max_page_count = 1000000")
    index.add([f"apple {i}" for i in range(500)])
    assert len(index) == 503


def test_arguments_are_checked(create: Create, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="search must be one of 'auto', 'exact', 'int8', 'binary', 'hnsw', 'ivf', not 'fast'"
    ):
        create(search="fast")
    assert not (tmp_path / "docs.vicinal").exists()
    with pytest.raises(InvalidInput, match="model must be a SentenceTransformer or a model's name, not int"):
        create(model=3)
    with pytest.raises(InvalidInput, match=r"give a list of texts, \[text\] for a single one"):
        create("second").add("text")


def test_files_for_searching_are_made_in_the_background(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "LEAST", 50)
    index = create()
    rng = np.random.default_rng(0)
    for start in range(0, 300, 60):
        index.add([str(i) for i in range(start, start + 60)], vectors=rng.standard_normal((60, 13)))
        index._builder.join()
        index.search(np.ones(13), 1)
    now: Any = index._searcher._view
    assert now.base is not None
    assert len(now.base.chunks) + now.rows == 300
    assert index.verify() == []
    assert len(list((index.path / "derived").glob("[0-9]*"))) == 1
