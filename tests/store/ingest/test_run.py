"""An index follows the files that it is made from."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from vicinal import Index, SentenceTransformer
from vicinal.errors import InvalidInput
from vicinal.store.ingest import Settings, ingest
from vicinal.store.ingest.readers import Found


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / ".hidden").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("red apple")
    (tmp_path / "docs" / "deep" / "b.md").write_text("# tax\n\nlaw")
    (tmp_path / "docs" / ".hidden" / "c.txt").write_text("not this")
    (tmp_path / "docs" / "d.jsonl").write_text('{"text": "the law", "n": 1}\n{"text": "green", "n": 2}\n')
    (tmp_path / "docs" / "other.bin").write_bytes(b"\0")
    with Index.create("x.vicinal", SentenceTransformer(tiny.write_static(tmp_path / "model"))) as made:
        yield made


@pytest.fixture
def embedded(index: Index, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are embedded."""
    seen: list[str] = []
    real = index.model.encode_document
    monkeypatch.setattr(index.model, "encode_document", lambda texts, **o: seen.extend(texts) or real(texts, **o))
    return seen


def texts(index: Index) -> dict[str, str]:
    return {one.id: one.text for one in index.documents()}


def touch(path: Path, text: str | None = None) -> None:
    """Change a file, or its time alone."""
    if text is not None:
        path.write_text(text)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000_000))


def test_files_become_documents(index: Index) -> None:
    report = ingest(index, ["docs"])
    assert (report.files, report.unchanged, report.changed, report.removed, report.failed) == (3, 0, 4, 0, [])
    assert texts(index) == {
        "docs/a.txt": "red apple",
        "docs/d.jsonl#row=1": "the law",
        "docs/d.jsonl#row=2": "green",
        "docs/deep/b.md": "# tax\n\nlaw",
    }
    hit = index.search("green", 1, {"n": {">=": 2}})[0]
    assert hit.metadata == {"source": "docs/d.jsonl", "row": 2, "n": 2}
    assert index.verify() == []


def test_nothing_is_done_twice(index: Index, embedded: list[str], tmp_path: Path) -> None:
    ingest(index, ["docs"])
    assert len(embedded) == 4
    generation = index.info()["generation"]
    report = ingest(index)
    assert (report.files, report.unchanged, report.changed) == (3, 3, 0)
    assert index.info()["generation"] == generation, "nothing is written"
    touch(tmp_path / "docs" / "a.txt")
    assert ingest(index).unchanged == 3
    touch(tmp_path / "docs" / "d.jsonl", '{"text": "the law", "n": 5}\n{"text": "green tax", "n": 2}\n')
    embedded.clear()
    report = ingest(index)
    assert (report.unchanged, report.changed) == (2, 2)
    assert embedded == ["green tax"], "a text that is the same is not embedded again"
    assert index.get("docs/d.jsonl#row=1").metadata["n"] == 5


def test_what_is_gone_is_removed(index: Index, tmp_path: Path) -> None:
    ingest(index, ["docs"])
    touch(tmp_path / "docs" / "d.jsonl", '{"text": "the law", "n": 1}\n')
    (tmp_path / "docs" / "a.txt").unlink()
    report = ingest(index)
    assert report.removed == 1
    assert set(texts(index)) == {"docs/d.jsonl#row=1", "docs/deep/b.md"}
    touch(tmp_path / "docs" / "deep" / "b.md", "")
    ingest(index)
    assert set(texts(index)) == {"docs/d.jsonl#row=1"}
    assert index.verify() == []


def test_what_cannot_be_read_is_named_and_kept_as_it_was(index: Index, tmp_path: Path) -> None:
    ingest(index, ["docs"])
    before = texts(index)
    (tmp_path / "docs" / "a.txt").write_bytes(b"\xff")
    touch(tmp_path / "docs" / "d.jsonl", '{"text": "new"}\nnonsense\n')
    report = ingest(index)
    assert len(report.failed) == 2
    assert "a.txt is not utf-8" in report.failed[0]
    assert "d.jsonl:2 is not JSON" in report.failed[1]
    assert texts(index) == before
    touch(tmp_path / "docs" / "a.txt", "green apple")
    touch(tmp_path / "docs" / "d.jsonl", '{"text": "new"}\n{"text": "\\ud800"}\n')
    assert "half of a surrogate pair" in ingest(index).failed[0]
    assert texts(index)["docs/a.txt"] == "green apple"


def test_a_run_that_stops_goes_on(
    index: Index, embedded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f'{{"text": "apple {i}"}}\n' for i in range(50))
    (tmp_path / "docs" / "d.jsonl").write_text(lines)
    monkeypatch.setattr("vicinal.store.ingest.run._ROWS", 10)

    class Stop(BaseException):
        pass

    real: Any = index._replace
    calls = 0

    def stopping(*arguments: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Stop
        return int(real(*arguments))

    monkeypatch.setattr(index, "_replace", stopping)
    with pytest.raises(Stop):
        ingest(index, ["docs"])
    assert 20 <= len(index) < 50
    ingest(index)
    assert len(index) == 52
    assert len(embedded) == len(set(embedded)) == 52, "nothing is embedded twice"
    assert index.verify() == []


def test_how_tables_are_read_is_remembered(index: Index, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("key,body\nx,red\ny,green\n")
    ingest(index, ["t.csv"], Settings("body", "key"))
    assert texts(index) == {"t.csv#x": "red", "t.csv#y": "green"}
    touch(tmp_path / "t.csv", "key,body\ny,green\nz,law\n")
    assert ingest(index).changed == 2, "the row of y is another"
    assert texts(index) == {"t.csv#y": "green", "t.csv#z": "law"}
    touch(tmp_path / "t.csv", "key,body\ny,green\ny,law\n")
    assert ingest(index).failed == [f"{tmp_path / 't.csv'} has two rows with the id 'y'"]


def test_what_is_not_there(index: Index, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="was not made from files: say which files"):
        ingest(index)
    with pytest.raises(InvalidInput, match="nowhere is not there"):
        ingest(index, ["docs", "nowhere"])
    with pytest.raises(InvalidInput, match=r"docs/other.bin is none of \.txt, \.md, .*, which can be read"):
        ingest(index, ["docs/other.bin"])


def test_what_the_index_says_is_no_fault_of_the_file(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicinal.store.ingest.run._ROWS", 1)

    def full(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "no room on the disk")

    monkeypatch.setattr(index, "_replace", full)
    with pytest.raises(OSError, match="no room on the disk"):
        ingest(index, ["docs"])


def test_what_the_system_does_not_let_be_read_is_named(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(index, ["docs"])

    def failing(*arguments: Any) -> Any:
        yield Found("row=1", "other", {})
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("vicinal.store.ingest.run.read", failing)
    touch(Path("docs/d.jsonl"), "{}")
    report = ingest(index)
    assert report.failed == [f"{Path.cwd() / 'docs' / 'd.jsonl'}: Input/output error"]
    assert texts(index)["docs/d.jsonl#row=1"] == "the law"
