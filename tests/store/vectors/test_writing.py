"""Tests of vicinal.store.vectors.writing: what a run leaves, and how the next goes on."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.store.vectors.conftest import ROOT, Computed, contents, corpus, expected, settings
from vicinal.errors import DamagedVectors, FolderBusy, InvalidInput, SourceChanged, SpaceMismatch, VectorsNotFound
from vicinal.store.files import locked
from vicinal.store.vectors import writing
from vicinal.store.vectors.reading import load_vectors
from vicinal.store.vectors.writing import write_vectors


class Stop(Exception):
    """Stands for whatever ends a run."""


def stopping(at: int) -> Callable[[list[Any], int], np.ndarray]:
    """Computes up to a row."""

    def compute(texts: list[Any], before: int) -> np.ndarray:
        if before + len(texts) > at:
            raise Stop
        return expected(texts)

    return compute


def test_a_run_that_is_stopped_is_gone_on_with(tmp_path: Path, computed: Computed) -> None:
    texts = corpus(1050)
    assert write_vectors(tmp_path / "whole", iter(texts), settings(), Computed()) == 11
    folder = tmp_path / "parts"
    with pytest.raises(Stop):
        write_vectors(folder, iter(texts), settings(), stopping(730))
    with pytest.raises(VectorsNotFound, match=r"does not have all its vectors yet.* Encode the same texts into it"):
        load_vectors(folder)
    assert write_vectors(folder, iter(texts), settings(), computed) == 4
    assert computed.rows == list(range(700, 1050))
    assert contents(folder) == contents(tmp_path / "whole")
    np.testing.assert_array_equal(np.asarray(load_vectors(folder)), expected(texts))


def test_a_run_that_is_complete_computes_nothing(tmp_path: Path, computed: Computed) -> None:
    texts = corpus(250)
    write_vectors(tmp_path, iter(texts), settings(), Computed())
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    seen: list[int] = []
    assert write_vectors(tmp_path, iter(texts), settings(), computed, done=seen.append) == 0
    assert computed.rows == []
    assert sum(seen) == 250
    assert before == {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}


@pytest.mark.parametrize("rows", [0, 1, 99, 100, 101, 200])
def test_every_number_of_texts(tmp_path: Path, rows: int) -> None:
    texts = corpus(rows)
    write_vectors(tmp_path, iter(texts), settings(), Computed())
    found = load_vectors(tmp_path)
    assert found.shape == (rows, 5)
    np.testing.assert_array_equal(np.asarray(found), expected(texts))


def test_texts_that_come_behind_are_encoded(tmp_path: Path, computed: Computed) -> None:
    texts = corpus(500)
    write_vectors(tmp_path / "whole", iter(texts), settings(), Computed())
    folder = tmp_path / "grown"
    for rows in (0, 130, 200, 200, 410):
        write_vectors(folder, iter(texts[:rows]), settings(), Computed())
    write_vectors(folder, iter(texts), settings(), computed)
    assert computed.rows == list(range(400, 500))
    assert contents(folder) == contents(tmp_path / "whole")


def test_while_it_grows_it_is_not_taken_for_whole(tmp_path: Path) -> None:
    texts = corpus(300)
    write_vectors(tmp_path, iter(texts[:150]), settings(), Computed())
    with pytest.raises(Stop):
        write_vectors(tmp_path, iter(texts), settings(), stopping(250))
    with pytest.raises(VectorsNotFound):
        load_vectors(tmp_path)
    write_vectors(tmp_path, iter(texts), settings(), Computed())
    np.testing.assert_array_equal(np.asarray(load_vectors(tmp_path)), expected(texts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda texts: texts[:230], r"rows 200 to 229 are not the texts that .* was begun with \(shard 2\)"),
        (lambda texts: texts[:200], r"has vectors of 250 texts, but there are only 200 now\. Give the texts"),
        (lambda texts: [], r"has vectors of 250 texts, but there are only 0 now"),
        (lambda texts: [*texts[:120], "another", *texts[121:]], r"rows 100 to 199 .* \(shard 1\)"),
        (lambda texts: [texts[1], texts[0], *texts[2:]], r"rows 0 to 99 .* \(shard 0\)"),
        (lambda texts: ["", *texts], r"rows 0 to 99 .* \(shard 0\)"),
        (lambda texts: [texts[0] + texts[1], "", *texts[2:]], r"rows 0 to 99 .* \(shard 0\)"),
    ],
)
def test_other_texts_are_refused(tmp_path: Path, computed: Computed, change: Any, message: str) -> None:
    texts = corpus(250)
    write_vectors(tmp_path, iter(texts), settings(), Computed())
    before = contents(tmp_path)
    with pytest.raises(SourceChanged, match=message):
        write_vectors(tmp_path, iter(change(texts)), settings(), computed)
    assert computed.rows == []
    assert contents(tmp_path) == before


def test_other_settings_are_refused(tmp_path: Path, computed: Computed) -> None:
    texts = corpus(20)
    write_vectors(tmp_path, iter(texts), settings(), Computed(), source=["a.txt"])
    before = contents(tmp_path)
    for name, value in [
        ("prompt", "query: "), ("task", "query"), ("normalized", True), ("backend", "openvino"), ("dtype", "int8"),
        ("numerics", "openvino int8"), ("batch_tokens", 7), ("batch_size", 1), ("shard_rows", 99), ("dims", 4),
        ("format", "parquet"),
    ]:  # fmt: skip
        known = getattr(settings(), name)
        with pytest.raises(SourceChanged, match=f"other settings; these have {name} {value!r}, not {known!r}. Go on"):
            write_vectors(tmp_path, iter(texts), settings(**{name: value}), computed)
    other = settings(model="other-model", fingerprint="e" * 64)
    with pytest.raises(
        SpaceMismatch, match=r"begun with some-model \(space f{12}, 5 dims\); this model is other-model"
    ):
        write_vectors(tmp_path, iter(texts), other, computed)
    assert (computed.rows, contents(tmp_path)) == ([], before)
    write_vectors(tmp_path, iter(texts), settings(model="another name"), computed, source=["b.txt"])
    assert (computed.rows, contents(tmp_path)) == ([], before)


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "empty"])
def test_a_damaged_shard_is_computed_again(
    tmp_path: Path, computed: Computed, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    texts = corpus(450)
    write_vectors(tmp_path, iter(texts), settings(), Computed())
    before, path = contents(tmp_path), tmp_path / "00002.npy"
    spoil(path, damage)
    with caplog.at_level(logging.WARNING, "vicinal"):
        assert write_vectors(tmp_path, iter(texts), settings(), computed) == 1
    assert computed.rows == list(range(200, 300))
    assert contents(tmp_path) == before
    assert f"{path} is {'gone' if damage == 'gone' else 'damaged'}, and computed again" in caplog.text


def spoil(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
        return
    if damage == "flipped":
        data[len(data) // 2] ^= 4
    path.write_bytes({"cut": data[:-1], "empty": b"", "flipped": data}[damage])


@pytest.mark.parametrize("cut", [1, 30])
def test_a_line_that_was_not_written_whole_does_not_count(tmp_path: Path, computed: Computed, cut: int) -> None:
    texts = corpus(450)
    write_vectors(tmp_path / "whole", iter(texts), settings(), Computed())
    folder = tmp_path / "parts"
    with pytest.raises(Stop):
        write_vectors(folder, iter(texts), settings(), stopping(300))
    table = folder / "shards.jsonl"
    table.write_bytes(table.read_bytes()[:-cut])
    write_vectors(folder, iter(texts), settings(), computed)
    assert computed.rows == list(range(200, 450))
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_damaged_table_costs_time_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = corpus(450)
    write_vectors(tmp_path, iter(texts), settings(), Computed())
    before, table = contents(tmp_path), tmp_path / "shards.jsonl"
    for data in (b"", b"\0" * 300, before["shards.jsonl"].replace(b"rows", b"rowz", 1), b"{}\n"):
        table.write_bytes(data)
        with pytest.raises(DamagedVectors, match=r"shards\.jsonl is not as it was written"):
            load_vectors(tmp_path)
        write_vectors(tmp_path, iter(texts), settings(), Computed())
        assert contents(tmp_path) == before
    said = [message.partition(" is ")[2] for message in caplog.messages]
    assert said == ["damaged behind line 0: what follows is done again"] * 2  # half a line is what a kill leaves


def test_a_damaged_manifest_is_named(tmp_path: Path, computed: Computed) -> None:
    write_vectors(tmp_path, iter(corpus(20)), settings(), Computed())
    path = tmp_path / "manifest.json"
    known = json.loads(path.read_text())
    for text in ("", "[]", "{}", json.dumps({**known, "dims": "5"}), json.dumps({**known, "format": "exe"})):
        path.write_text(text)
        for act in (lambda: load_vectors(tmp_path), lambda: write_vectors(tmp_path, iter([]), settings(), computed)):
            with pytest.raises(DamagedVectors, match=r"manifest\.json is no manifest of vectors, or damaged"):
                act()
    path.write_text(json.dumps({**known, "vicinal vectors": 2}))
    with pytest.raises(VectorsNotFound, match="has layout 2; this vicinal reads 1"):
        load_vectors(tmp_path)


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    texts = corpus(150)
    write_vectors(tmp_path / "whole", iter(texts), settings(), Computed())
    folder = tmp_path / "parts"
    folder.mkdir()
    left = folder / f".manifest.json.{'0' * 32}.new"
    left.write_bytes(b"half")
    (folder / "lock").touch()
    with pytest.raises(Stop):
        write_vectors(folder, iter(texts), settings(), stopping(100))
    left.write_bytes(b"half")
    (folder / "00007.npy").write_bytes(b"of a run that got further")
    write_vectors(folder, iter(texts), settings(), Computed())
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, computed: Computed) -> None:
    (tmp_path / "thesis.npy").touch()
    with pytest.raises(FileExistsError, match=r"the folder holds 'thesis\.npy' and no manifest\.json"):
        write_vectors(tmp_path, iter(corpus(2)), settings(), computed)
    with pytest.raises(FileExistsError):
        write_vectors(tmp_path / "thesis.npy", iter(corpus(2)), settings(), computed)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.npy"]


def test_a_source_that_no_manifest_can_hold(tmp_path: Path, computed: Computed) -> None:
    with pytest.raises(TypeError, match=r"source must be something that JSON can hold: .*set"):
        write_vectors(tmp_path / "a", iter([]), settings(), computed, source={"a"})
    assert not (tmp_path / "a").exists()


def test_one_process_writes(tmp_path: Path, computed: Computed) -> None:
    with locked(tmp_path), pytest.raises(FolderBusy, match=f"another process is writing into {tmp_path}: wait until"):
        write_vectors(tmp_path, iter(corpus(2)), settings(), computed)
    code = "import sys; from pathlib import Path; from vicinal.store.files import locked\n"
    code += "with locked(Path(sys.argv[1])): print('mine', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(FolderBusy):
            write_vectors(tmp_path, iter(corpus(2)), settings(), computed)
        other.kill()
    assert write_vectors(tmp_path, iter(corpus(2)), settings(), computed) == 1


def test_pieces_do_not_cross_shards(tmp_path: Path, computed: Computed) -> None:
    write_vectors(tmp_path, iter(corpus(6000)), settings(shard_rows=2500), computed)
    assert computed.pieces == [1024, 1024, 452, 1024, 1024, 452, 1000]


def test_long_texts_end_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_CHARACTERS", 1000)
    texts = ["a" * 400, "b" * 400, "c" * 400, "d" * 5000, "", "e"]
    write_vectors(tmp_path, iter(texts), settings(), Computed())
    assert [json.loads(line)["rows"] for line in (tmp_path / "shards.jsonl").read_text().splitlines()] == [3, 1, 2]


def test_texts_are_drawn_when_they_are_needed(tmp_path: Path) -> None:
    drawn = 0

    def texts() -> Any:
        nonlocal drawn
        for text in corpus(1000):
            drawn += 1
            yield text

    def compute(texts: list[Any], before: int) -> np.ndarray:
        assert drawn == before + len(texts)
        return expected(texts)

    write_vectors(tmp_path, texts(), settings(), compute)


def test_pairs(tmp_path: Path) -> None:
    pairs: list[Any] = [("a", "bc"), ("ab", "c"), ("", "")]
    write_vectors(tmp_path / "a", iter(pairs), settings(), Computed())
    np.testing.assert_array_equal(np.asarray(load_vectors(tmp_path / "a")), expected(pairs))
    with pytest.raises(SourceChanged):
        write_vectors(tmp_path / "a", iter([("ab", "c"), *pairs[1:]]), settings(), Computed())
    with pytest.raises(InvalidInput, match="hold single texts, not pairs"):
        write_vectors(tmp_path / "b", iter(pairs), settings(format="parquet"), Computed())


@hypothesis_settings(deadline=None, max_examples=30)
@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=12), st.integers(1, 5), st.data())
def test_any_stop_then_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], rows: int, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("any")
    wish = settings(shard_rows=rows)
    write_vectors(root / "whole", iter(texts), wish, Computed())
    for _ in range(data.draw(st.integers(0, 3))):
        try:
            write_vectors(root / "parts", iter(texts), wish, stopping(data.draw(st.integers(0, len(texts)))))
        except Stop:
            continue
    write_vectors(root / "parts", iter(texts), wish, Computed())
    assert contents(root / "parts") == contents(root / "whole")


FULL = """
import resource, sys
from pathlib import Path
from tests.store.vectors.conftest import Computed, corpus, settings
from vicinal.store.vectors.writing import write_vectors
folder, wish, limit = Path(sys.argv[1]), settings(shard_rows=int(sys.argv[2])), int(sys.argv[3])
write_vectors(folder, iter(corpus(500)), wish, Computed())
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    write_vectors(folder, iter(corpus(1000)), wish, Computed())
except OSError as error:
    print(error.errno)
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize(
    ("rows", "limit"),
    [pytest.param(100, 300, id="manifest"), pytest.param(100, 1500, id="shard"), pytest.param(5, 13_000, id="table")],
)
def test_a_full_disk_loses_nothing(tmp_path: Path, rows: int, limit: int) -> None:
    """A limit on the length of files stands for it."""
    wish, whole, folder = settings(shard_rows=rows), tmp_path / "whole", tmp_path / "parts"
    write_vectors(whole, iter(corpus(1000)), wish, Computed())
    done = subprocess.run(
        [sys.executable, "-c", FULL, folder, str(rows), str(limit)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "27\n"  # EFBIG
    assert not list(folder.glob(".*")), "half a file was left"
    table = (folder / "shards.jsonl").read_bytes()
    assert (len(table) == limit) == (rows == 5)
    computed = Computed()
    write_vectors(folder, iter(corpus(1000)), wish, computed)
    assert computed.rows[0] == table.count(b"\n") * rows
    assert contents(folder) == contents(whole)
