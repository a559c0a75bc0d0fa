"""Documents of files of every kind."""

from __future__ import annotations

import datetime
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from vicinal.errors import InvalidData
from vicinal.store.ingest import html, readers
from vicinal.store.ingest.readers import Found, Settings, read


def found(name: str, data: bytes, **settings: Any) -> list[Found]:
    return list(read(Path(name), io.BytesIO(data), Settings(**settings)))


def pdf(*pages: str) -> bytes:
    """A file with a line on each page, written by hand."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        kids.append(len(objects) + 1)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
    listed = " ".join(f"{kid} 0 R" for kid in kids)
    objects[1] = f"<< /Type /Pages /Kids [{listed}] /Count {len(kids)} >>".encode()
    output = io.BytesIO()
    output.write(b"%PDF-1.4\n")
    places = []
    for number, one in enumerate(objects, 1):
        places.append(output.tell())
        output.write(b"%d 0 obj\n%s\nendobj\n" % (number, one))
    start = output.tell()
    output.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for place in places:
        output.write(b"%010d 00000 n \n" % place)
    output.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return output.getvalue()


def test_text() -> None:
    assert found("a.md", "\ufeff# Ä\n".encode()) == [Found("", "# Ä\n", {})]
    assert found("a.TXT", b" \n") == []


def test_pdf_is_a_document_a_page() -> None:
    assert found("a.pdf", pdf("First page", "", "Third page")) == [
        Found("page=1", "First page", {"page": 1}),
        Found("page=3", "Third page", {"page": 3}),
    ]


def test_tables() -> None:
    table = 'id,text,year\n7,"one\ntwo",2024\n8,,x\n9,three,\n'
    assert found("a.csv", table.encode()) == [
        Found("row=1", "one\ntwo", {"row": 1, "id": "7", "year": "2024"}),
        Found("row=3", "three", {"row": 3, "id": "9", "year": ""}),
    ]
    assert [one.part for one in found("a.tsv", b"id\tbody\nx\ty\n", column="body", id_column="id")] == ["x"]
    lines = b'{"text": "a", "n": [1, {"x": null}]}\n\n{"text": "b", "n": NaN}\n'
    assert found("a.jsonl", lines) == [
        Found("row=1", "a", {"row": 1, "n": [1, {"x": None}]}),
        Found("row=3", "b", {"row": 3, "n": None}),
    ]
    output = io.BytesIO()
    day = datetime.date(2024, 5, 6)
    pyarrow.parquet.write_table(pa.table({"text": ["a", None, "c"], "day": [day] * 3, "n": [1, 2, None]}), output)
    assert found("a.parquet", output.getvalue()) == [
        Found("row=1", "a", {"row": 1, "day": "2024-05-06", "n": 1}),
        Found("row=3", "c", {"row": 3, "day": "2024-05-06", "n": None}),
    ]


def test_html() -> None:
    page = """<!doctype html><html><head><title>My
      page</title><style>p {}</style></head><body><nav>menu</nav><h2>Head</h2><p>One &lt; two<br>three
      <b>four</b>.</p><ul><li>a</li><li>b <i>c</i></ul><pre>x = 1
  y</pre><script>alert("no")</script><table><tr><td>cell<td>other</table>end</body></html>"""
    expected = (
        "menu\n\n## Head\n\nOne < two\n\nthree four.\n\n- a\n\n- b c\n\n```\nx = 1\n  y\n```\n\ncell\n\nother\n\nend"
    )
    assert html.text(page) == (expected, "My page")
    assert found("a.html", b'<meta charset="latin-1"><p>\xe9') == [Found("", "é", {})]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"\xff\xfe", r"a.txt is not utf-8 \(invalid start byte at byte 0\): convert it"),
        ("a.txt", b"a\0b", "a.txt holds a zero byte: this is no text"),
        ("a.html", b"<meta charset=nope>", "a.html says that it is encoded in 'nope', which Python does not know"),
        ("a.pdf", b"no pdf", "a.pdf cannot be read as PDF"),
        ("a.pdf", b"", "a.pdf cannot be read as PDF"),
        ("a.csv", b"a,b\n1,2\n", r"a.csv has no column 'text' \(--column\); it has 'a', 'b'"),
        ("a.csv", b"a,text\n1\n", "a.csv: row 1 has not the 2 columns of the header"),
        ("a.csv", b'text\n"open\n', "a.csv: line 1: unexpected end of data"),
        ("a.csv", b"text\na\n\xff\n", r"a.csv:3 is not utf-8 \(invalid start byte at byte 0\)"),
        ("a.csv", b"text\na\0\n", "a.csv:2 holds a zero byte"),
        ("a.jsonl", b"{]\n", "a.jsonl:1 is not JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1 is no JSON object"),
        ("a.jsonl", b'{"text": 3}\n', "a.jsonl: row 1: the text is of type int, not a string"),
        ("a.parquet", b"PAR1", "a.parquet cannot be read as parquet"),
    ],
)
def test_what_is_not_as_its_suffix_says(name: str, data: bytes, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        found(name, data)


def test_ends_of_lines() -> None:
    rows = [Found("row=1", "a\r\nb", {"row": 1, "n": "1"}), Found("row=2", "c", {"row": 2, "n": "2"})]
    assert found("a.csv", b'\xef\xbb\xbftext,n\r\n"a\r\nb",1\r\nc,2') == rows
    assert found("a.csv", b"text,n\rc,2\r") == [Found("row=1", "c", {"row": 1, "n": "2"})]
    assert [one.text for one in found("a.jsonl", b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b\\u2028"}')] == [
        "a",
        "b\u2028",
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.csv", "a.jsonl"])
def test_a_text_without_end_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST", 100)
    with pytest.raises(InvalidData, match=rf"{name}(:1)? has more than 0 MiB"):
        found(name, b"x" * 101)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_rows_are_read_one_after_another(name: str) -> None:
    rows = [{"text": f"text {i} " + "x" * 1000} for i in range(20_000)]
    file = io.BytesIO()
    if name == "a.parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), file, row_group_size=1000, compression="none")
    elif name == "a.csv":
        file.write("".join(f"{row['text']}\n" for row in [{"text": "text"}, *rows]).encode())
    else:
        file.write("".join(f"{json.dumps(row)}\n" for row in rows).encode())
    total = file.tell()
    file.seek(0)
    documents = read(Path(name), file, Settings())
    next(documents)  # what is read once
    tracemalloc.start()
    try:
        assert sum(1 for _ in documents) == len(rows) - 1
        assert tracemalloc.get_traced_memory()[1] < total / 4
    finally:
        tracemalloc.stop()
