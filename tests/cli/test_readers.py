"""Tests of vicinal.cli.readers: whatever a file's own writer wrote comes back, and what is no text is named."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.cli import readers
from vicinal.cli.rows import Format, Reading, Row
from vicinal.errors import InvalidInput

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)
LINES = TEXTS.map(lambda text: text.replace("\n", " ").rstrip("\r"))
FIELDS = TEXTS.map(lambda text: text.replace("\r", " "))


def rows_of(content: bytes, name: str, **options: Any) -> list[Row]:
    """What is read from a file of this name and content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        rows = list(readers.read([str(path)], Reading(**options)))
        assert all(row.file == str(path) for row in rows)
        return [row._replace(file=name) for row in rows]


@settings(deadline=None)
@given(st.lists(LINES), st.sampled_from(("\n", "\r\n")), st.booleans(), st.sampled_from(("utf-8", "utf-16", "utf-32")))
def test_a_text_a_line(texts: list[str], end: str, last: bool, encoding: str) -> None:
    content = end.join(texts) + (end if texts and (last or not texts[-1]) else "")
    if content.startswith("\ufeff"):
        content = content.replace("\ufeff", "x")
        texts = [text.replace("\ufeff", "x") for text in texts]
    rows = rows_of(content.encode(encoding), "a.txt", encoding=encoding)
    assert rows == [Row(text, "a.txt", i) for i, text in enumerate(texts, 1)]


@settings(deadline=None)
@given(st.lists(TEXTS), st.booleans())
def test_jsonl(texts: list[str], ascii_only: bool) -> None:
    lines = [json.dumps({"id": i, "body": text}, ensure_ascii=ascii_only) for i, text in enumerate(texts)]
    rows = rows_of("\n".join(lines).encode(), "a.jsonl", field="body")
    assert rows == [Row(text, "a.jsonl", i) for i, text in enumerate(texts, 1)]


@settings(deadline=None)
@given(st.lists(st.tuples(FIELDS, FIELDS)), st.sampled_from(("\n", "\r\n")), st.sampled_from(("csv", "tsv")))
def test_csv_and_tsv(records: list[tuple[str, str]], end: str, kind: str) -> None:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=end, delimiter="," if kind == "csv" else "\t")
    writer.writerows([("id", "text"), *records])
    rows = rows_of(file.getvalue().encode(), f"a.{kind}", column="text")
    assert [row.text for row in rows] == [text for _, text in records]
    starts = [2 + sum(a.count("\n") + b.count("\n") + 1 for a, b in records[:i]) for i in range(len(records))]
    assert [row.line for row in rows] == starts


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_parquet(texts: list[str]) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the parquet extra")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the parquet extra")
    file = io.BytesIO()
    parquet.write_table(arrow.table({"id": list(range(len(texts))), "text": texts}), file, row_group_size=7)
    rows = rows_of(file.getvalue(), "a.parquet", column="text")
    assert rows == [Row(text, "a.parquet", i) for i, text in enumerate(texts, 1)]


def test_blank_lines_are_texts_but_no_records() -> None:
    assert [row.text for row in rows_of(b"a\n\n  \nb\n\n", "a.txt")] == ["a", "", "  ", "b", ""]
    assert [row.line for row in rows_of(b'{"text": "a"}\n\n{"text": ""}\n', "a.jsonl")] == [1, 3]
    assert [row.line for row in rows_of(b"text\n\na\n\nb\n", "a.csv", column="text")] == [3, 5]


def test_lines_end_at_line_feeds_alone() -> None:
    text = "one\x0b\x0c\x1c\x85\u2028two\rthree"
    assert rows_of(f"{text}\n".encode(), "a.txt") == [Row(text, "a.txt", 1)]


def test_empty_files() -> None:
    assert rows_of(b"", "a.txt") == rows_of(b"", "a.jsonl") == rows_of(b"text\n", "a.csv", column="text") == []
    with pytest.raises(InvalidInput, match=r"a\.csv is empty: the first line of a csv or tsv file names its columns"):
        rows_of(b"", "a.csv", column="text")


def test_a_byte_order_mark_is_no_text() -> None:
    assert rows_of("\ufeffa\n".encode(), "a.txt")[0].text == "a"
    assert rows_of("\ufefftext\na\n".encode(), "a.csv", column="text", encoding="UTF8")[0].text == "a"


def test_json_strings_are_texts() -> None:
    assert [row.text for row in rows_of(b'"a"\n"b"\n', "a.jsonl")] == ["a", "b"]


def test_quotes_as_text() -> None:
    content = b'text\tother\n"so" he said\tx\n12" pipe\ty\n'
    assert [row.text for row in rows_of(content, "a.tsv", column="text", no_quotes=True)] == [
        '"so" he said',
        '12" pipe',
    ]
    with pytest.raises(InvalidInput, match=r"a\.tsv:2: .*; if quotation marks are part of the texts, say --no-quotes"):
        rows_of(content, "a.tsv", column="text")


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", b"fine\nd\xffe\n", {}, r"a\.txt:2 is not utf-8 \(byte 0xff\): convert it, or name its encoding with"),
        ("a.txt", b"a" * 9000 + b"\n\xe4\n", {}, r"a\.txt:2 is not utf-8 \(byte 0xe4\)"),
        ("a.txt", "aé\n".encode(), {"encoding": "ascii"}, r"a\.txt:1 is not ascii \(byte 0xc3\)"),
        ("a.txt", b"a\n\x89PNG\0\0", {}, r"a\.txt:2 is not utf-8 \(byte 0x89\)"),
        ("a.txt", b"a\nb\0c\n", {}, r"a\.txt:2 holds a zero byte: this is no text, or in another --encoding"),
        ("a.txt", b"\xff\xfea\0\xd8\xd8\n\0", {"encoding": "utf-16"}, r"a\.txt:1 is not utf-16 \("),
        ("a.txt", b"x" * (readers.LONGEST + 1), {}, r"a\.txt:1 has more than 1,048,576 characters: split it, or is"),
        ("a.csv", b"id,body\n1,a\n", {"column": "text"}, r"has no column 'text' \(--column\); it has 'id', 'body'"),
        ("a.csv", b"text,text\n1,a\n", {"column": "text"}, "has more than one column 'text'"),
        ("a.csv", b"id,text\n1,a\n2\n", {"column": "text"}, r":3 has only 1 of 2 columns, and 'text' is not among"),
        ("a.csv", b'text\na\n"open\nb\n', {"column": "text"}, r"a\.csv:3: unexpected end of data"),
        ("a.csv", b"text\n" + b'"' + b"x\n" * (readers.LONGEST // 2 + 1), {"column": "text"}, r":2: field larger"),
        ("a.csv", b"text\na\n\xff\n", {"column": "text"}, r"a\.csv:3 is not utf-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', {}, r"a\.jsonl:2 is not JSON: "),
        ("a.jsonl", b"[" * 100_000, {}, r"a\.jsonl:1 is not JSON: "),
        ("a.jsonl", b'{"body": "a", "id": 1}\n', {}, r":1 has no field 'text' \(--field\); it has 'body', 'id'"),
        ("a.jsonl", b"{}\n", {}, r":1 has no field 'text' \(--field\); it has none"),
        ("a.jsonl", b'{"text": null}\n', {}, r"a\.jsonl:1: the text is null, not a string"),
        ("a.jsonl", b'"a"\n3\n', {}, r"a\.jsonl:2: the text is of type int, not a string"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_named(name: str, content: bytes, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        rows_of(content, name, **options)


def test_parquet_that_holds_no_texts(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the parquet extra")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the parquet extra")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"id": [1, 2], "text": ["a", None]}), path)
    for column, message in [
        ("text", r"a\.parquet:2: the text is null, not a string"),
        ("id", r"a\.parquet:1: the text is of type int, not a string"),
        ("body", r"a\.parquet has no column 'body' \(--column\); it has 'id', 'text'"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            list(readers.read([str(path)], Reading(column=column)))
    path.write_bytes(b"no parquet")
    with pytest.raises(InvalidInput, match=r"a\.parquet cannot be read as parquet: "):
        list(readers.read([str(path)], Reading(column="text")))


def test_counts_for_a_progress_bar(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a\nb\n\n")
    (tmp_path / "b.jsonl").write_bytes(b'"a"\n')
    names = [str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl")]
    assert readers.count(names, Reading()) == 4
    assert readers.count([*names, "-"], Reading()) is None


def test_inputs_follow_one_another(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb")
    (tmp_path / "b.jsonl").write_text('{"text": "c"}')
    names = [str(tmp_path / "b.jsonl"), str(tmp_path / "a.txt")]
    assert [row.place for row in readers.read(names, Reading())] == [f"{names[0]}:1", f"{names[1]}:1", f"{names[1]}:2"]
    forced = Reading(Format.txt)
    assert [row.text for row in readers.read(names, forced)] == ['{"text": "c"}', "a", "b"]
