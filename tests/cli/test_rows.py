"""Tests of vicinal.cli.rows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.cli.rows import Format, Reading, Row, files, portions
from vicinal.errors import InvalidInput


@settings(deadline=None)
@given(st.lists(st.sampled_from((0, 1, 1 << 20, 5 << 20)), max_size=30), st.integers(0, 3000))
def test_portions_are_everything_in_order_and_small(lengths: list[int], more: int) -> None:
    texts = {length: "x" * length for length in set(lengths) | {3}}
    rows = [Row(texts[length], "f", i) for i, length in enumerate([*lengths, *[3] * more])]
    found = list(portions(iter(rows)))
    assert [row for portion in found for row in portion] == rows
    for portion in found:
        assert 1 <= len(portion) <= 1024
        assert sum(len(row.text) for row in portion[:-1]) < 1 << 22


def test_portions_draw_no_more_than_they_need() -> None:
    drawn = []

    def rows():
        for i in range(5000):
            drawn.append(i)
            yield Row("text", "f", i)

    found = portions(rows())
    next(found)
    assert len(drawn) == 1024


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", Format.csv), ("a.TSV", Format.tsv), ("a.jsonl", Format.jsonl), ("a.ndjson", Format.jsonl),
        ("a.parquet", Format.parquet), ("a.txt", Format.txt), ("README", Format.txt), ("-", Format.txt),
    ],
)  # fmt: skip
def test_format_by_suffix(name: str, expected: Format) -> None:
    assert Reading().format_of(name) is expected
    assert Reading(Format.jsonl).format_of(name) is Format.jsonl


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nx\n")
    (tmp_path / "a.json").write_text("{}")
    for reading, names, message in [
        (Reading(), [tmp_path / "a.csv"], "is csv: say which column has the texts"),
        (Reading(), [tmp_path / "a.json"], "is JSON: write one object a line"),
        (Reading(encoding="klingon"), ["-"], "unknown encoding: klingon"),
        (Reading(encoding="hex"), ["-"], "'hex' is not a text encoding"),
        (Reading(), ["-", "-"], "can be read only once"),
        (Reading(Format.parquet, "text"), ["-"], "parquet is not read from standard input"),
    ]:
        with pytest.raises(typer.BadParameter, match=message):
            reading.check([str(name) for name in names])
    Reading(Format.txt).check([str(tmp_path / "a.json"), str(tmp_path / "a.csv"), "-"])


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        Reading().check([str(tmp_path / "none")])
    with pytest.raises(IsADirectoryError):
        Reading().check([str(tmp_path)])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_checking_leaves_a_pipe_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    Reading().check([str(tmp_path / "pipe")])  # opening it would wait for a writer


def test_folders_give_their_text_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "sub/c.RST", "sub/d.py", "e.csv", ".hidden.txt", ".git/f.txt", "sub/.g.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = files(["-", str(tmp_path), "other.log"])
    assert found == ["-", *(str(tmp_path / name) for name in ("a.md", "b.txt", "sub/c.RST")), "other.log"]


def test_folder_without_text_files(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    with pytest.raises(InvalidInput, match=r"has no \.txt, \.md, \.rst file: name the files themselves"):
        files([str(tmp_path)])
