"""Files of an index that are changed behind its back: it is said, nothing wrong is answered, what can be is mended."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vicinal import Index
from vicinal.errors import DamagedIndex, IndexWarning
from vicinal.store.index import derived, schema

Create = Callable[..., Index]


@pytest.fixture
def folder(create: Create) -> Path:
    """A closed index of 40 documents, with its derived folder."""
    index = create()
    texts = [f"apple {'law ' * (i % 5)}{i}" for i in range(40)]
    index.add(texts, [str(i) for i in range(40)], [{"n": i} for i in range(40)])
    index.optimize()
    index.close()
    return index.path


def answers(index: Index) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in index.search(["apple law", "law 3"], 12)]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


NAMES = ["vectors.f32", "chunks.i64", "norms.f64", "checks.u64", "manifest.json"]


@pytest.mark.parametrize("how", ["flipped", "truncated", "gone", "empty"])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_derived_file_is_named_and_does_no_harm(folder: Path, name: str, how: str) -> None:
    with Index.open(folder) as index:
        expected = answers(index)
    (made,) = derived.folders(folder)
    path = made / name
    size = path.stat().st_size
    if how == "flipped":
        flip(path, size // 2)
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: size // 2 if how == "truncated" else 0])
    with Index.open(folder) as index:
        with pytest.warns(IndexWarning, match=rf"{made.name}.*made anew"):
            assert answers(index) == expected
        assert answers(index) == expected
        (fault,) = index.verify()
        assert str(made) in fault
        assert index.rebuild() == []
        assert index.verify() == []
        assert answers(index) == expected


def test_a_derived_folder_of_another_index_is_not_used(folder: Path, create: Create) -> None:
    other = create("other")
    other.add([f"law {i}" for i in range(40)])
    shutil.copytree(folder / "derived", other.path / "derived", dirs_exist_ok=True)
    assert {hit.text for hit in other.search("apple", 40)} == {f"law {i}" for i in range(40)}
    assert other.verify() == []


def changed(folder: Path, sql: str) -> None:
    db = sqlite3.connect(folder / schema.FILE)
    with db:
        assert db.execute(sql).rowcount > 0
    db.close()


@pytest.mark.parametrize(
    ("sql", "fault", "kept"),
    [
        ("UPDATE vector SET data = zeroblob(52) WHERE chunk = 7", "the vector of chunk 7 is not as it was written", 40),
        ("UPDATE vector SET data = substr(data, 5) WHERE chunk = 7", "the vector of chunk 7 is not as it was", 40),
        ("DELETE FROM vector WHERE chunk = 7", "the vector of chunk 7 is gone", 40),
        ("UPDATE chunk SET stop = 3 WHERE id = 7", "chunk 7 is not as it was written", 40),
        ("DELETE FROM chunk WHERE id = 7", "document '6' has 0 of its 1 chunks", 40),
        ("UPDATE value SET value = 99 WHERE document = 7", "what filters see of document '6' is not its metadata", 40),
        ("UPDATE document SET text = 'other' WHERE id = 7", "document '6' is not as it was written", 39),
        ("UPDATE document SET metadata = '{}' WHERE id = 7", "document '6' is not as it was written", 39),
        ("DELETE FROM document WHERE id = 7", "belong to nothing", 39),
    ],
)
def test_a_damaged_row_is_named_and_mended(folder: Path, sql: str, fault: str, kept: int) -> None:
    with Index.open(folder) as index:
        expected = {hit.id: round(hit.score, 9) for hit in index.search("apple law", 40) if hit.id != "6" or kept == 40}
    changed(folder, sql)
    shutil.rmtree(folder / "derived")
    with Index.open(folder) as index:
        assert any(fault in found for found in index.verify())
        found = index.rebuild()
        assert found or "nothing" in fault
        assert index.verify() == []
        assert len(index) == kept
        assert {hit.id: round(hit.score, 9) for hit in index.search("apple law", 40)} == expected
        assert index.get("5") is not None


def test_what_is_damaged_is_never_answered(folder: Path) -> None:
    changed(folder, "UPDATE document SET text = 'other' WHERE id = 7")
    with Index.open(folder) as index:
        with pytest.raises(DamagedIndex, match=r"document '6' is not as it was written. `vicinal index verify"):
            index.get("6")
        with pytest.raises(DamagedIndex, match="document '6' is not as it was written"):
            index.search("apple", 40)
        assert index.get("5") is not None
    changed(folder, "UPDATE vector SET data = zeroblob(52) WHERE chunk = 9")
    shutil.rmtree(folder / "derived")
    with Index.open(folder) as index, pytest.raises(DamagedIndex, match="the vector of chunk 9 is not as it was"):
        index.search(np.ones(13))


def test_a_record_that_is_damaged(folder: Path) -> None:
    changed(folder, "UPDATE record SET data = replace(data, '\"documents\": 40', '\"documents\": 41')")
    with Index.open(folder) as index, pytest.raises(DamagedIndex, match="its record of state is not as it was written"):
        len(index)


def test_a_truncated_database_is_named(folder: Path) -> None:
    path = folder / schema.FILE
    for size in (path.stat().st_size // 2, 5000, 100):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DamagedIndex, match=r"is damaged|holds no index"), Index.open(folder) as index:  # noqa: PT012
            faults = index.verify()
            assert faults
            raise DamagedIndex(f"is damaged: {faults}")


def test_pages_that_are_overwritten_are_found(folder: Path) -> None:
    path = folder / schema.FILE
    data = bytearray(path.read_bytes())
    for at in range(8192, len(data), 8192):
        broken = data[:]
        broken[at : at + 64] = b"\xff" * 64
        path.write_bytes(broken)
        try:
            with Index.open(folder) as index:
                assert index.verify(), f"page {at // 8192} is damaged, and verify is content"
        except DamagedIndex:
            continue
