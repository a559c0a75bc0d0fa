"""Training data from files: one content in every form, and what is refused with its place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vicinal.errors import DataNotFound, InvalidData

datasets = pytest.importorskip("datasets")
sources = pytest.importorskip("vicinal.recipes.sources")

ROWS = {"a": ['say "hi", now', "tab\tless", "été"], "b": ["x", "y", "z"], "score": [0.5, 1.0, 0.25]}


def csv_of(rows: dict[str, list[Any]], delimiter: str = ",") -> str:
    def cell(value: Any) -> str:
        return '"' + str(value).replace('"', '""') + '"'

    lines = [rows, *zip(*rows.values(), strict=True)]
    return "".join(delimiter.join(map(cell, line)) + "\n" for line in lines)


def jsonl_of(rows: dict[str, list[Any]]) -> str:
    records = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    return "\n".join(map(json.dumps, records)) + "\n\n"


def saved(path: Path, rows: dict[str, list[Any]]) -> None:
    data = datasets.Dataset.from_dict(rows)
    datasets.DatasetDict({"train": data, "test": data.select([0])}).save_to_disk(str(path))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "x.csv": lambda path: path.write_text(csv_of(ROWS), "utf-8"),
    "x.tsv": lambda path: path.write_text(csv_of(ROWS, "\t"), "utf-8"),
    "x.csv.gz": lambda path: path.write_bytes(gzip.compress(csv_of(ROWS).encode())),
    "x.jsonl": lambda path: path.write_text(jsonl_of(ROWS), "utf-8"),
    "x.jsonl.gz": lambda path: path.write_bytes(gzip.compress(jsonl_of(ROWS).encode())),
    "x.parquet": lambda path: datasets.Dataset.from_dict(ROWS).to_parquet(str(path)),
    "x": lambda path: saved(path, ROWS),
}


@pytest.mark.parametrize("name", WRITERS)
def test_one_content_in_every_form(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    found = sources.read(str(tmp_path / name))
    assert found.column_names == ["a", "b", "label"]
    assert found.to_dict() == {"a": ROWS["a"], "b": ROWS["b"], "label": ROWS["score"]}
    chosen = sources.read(str(tmp_path / name), ["b", "a"])
    assert chosen.column_names == ["b", "a"]
    assert chosen["b"][:] == ROWS["b"]


def test_quotation_marks_may_be_texts(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text('a\tb\n"no\tend\n')
    with pytest.raises(InvalidData, match="are quotation marks part of the texts"):
        sources.read(str(tmp_path / "x.tsv"))
    assert sources.read(str(tmp_path / "x.tsv"), quotes=False)["a"][:] == ['"no']


def test_splits_and_limits(tmp_path: Path) -> None:
    saved(tmp_path / "x", {"a": [f"t{i}" for i in range(50)]})
    assert len(sources.read(str(tmp_path / "x"), split="test")) == 1
    few, again, others = (sources.read(str(tmp_path / "x"), limit=9, seed=seed)["a"][:] for seed in (0, 0, 1))
    assert few == again != others
    assert len(set(few)) == 9
    with pytest.raises(DataNotFound, match=r"has no split 'tset': did you mean test\?"):
        sources.read(str(tmp_path / "x"), split="tset")


def test_a_retrieval_set_gives_its_pairs(tmp_path: Path) -> None:
    for name, texts in (("queries", ["q0", "q1"]), ("corpus", ["d0", "d1", "d2"])):
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps({"_id": t, "text": f"the {t}"}) + "\n" for t in texts)
        )
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\nq1\td0\t2\nq1\td2\t0\n")
    found = sources.read(str(tmp_path))
    assert found.to_dict() == {"query": ["the q0", "the q1"], "document": ["the d1", "the d0"]}
    with pytest.raises(InvalidData, match="is a retrieval set, which has no column 'label'"):
        sources.read(str(tmp_path), label="label")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["1", "0", "-2"], [1, 0, -2]),
        (["0.5", "1", "2e-1"], [0.5, 1.0, 0.2]),
        (["no", "yes", "no"], [0, 1, 0]),
        ([True, False, True], [1, 0, 1]),
        ([[0.5, 1.0], [0.0, 2.0], [1.0, 1.0]], [[0.5, 1.0], [0.0, 2.0], [1.0, 1.0]]),
    ],
)
def test_labels_become_numbers(labels: list[Any], expected: list[Any], tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(jsonl_of({"a": ["x", "y", "z"], "label": labels}))
    assert sources.read(str(tmp_path / "x.jsonl"))["label"][:] == expected
    assert sources.read(str(tmp_path / "x.jsonl"), numbered=False)["label"][:] == labels


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, r"x\.jsonl has no rows"),
        ("{", {}, r"x\.jsonl:1 is not JSON"),
        ("[1]", {}, r"x\.jsonl:1 must be an object, not \[1\]"),
        ('{"a": "x"}\n{"a": 3}', {}, r"x\.jsonl:2: 'a' must be a text or a list of texts, not 3"),
        ('{"a": "x"}\n{"b": "x"}', {}, r"x\.jsonl:2: 'a' must be a text or a list of texts, not None"),
        ('{"a": "x"}\n{"a": " "}', {}, r"x\.jsonl:2: 'a' is empty: remove the row"),
        ('{"a": []}', {}, r"x\.jsonl:1: 'a' must be a text or a list of texts, not \[\]"),
        ('{"a": "x", "label": ""}', {}, r"x\.jsonl:1 has no label \('label'\)"),
        ('{"a": "x", "label": {"b": 1}}', {}, r"the label 'label' must be a number, a text or a list of numbers"),
        (
            '{"a": "x", "label": "1"}\n{"a": "x", "label": "no"}',
            {},
            r"1 labels are numbers, but 'no' \(row 1, from 0\)",
        ),
        ('{"a": "x", "label": "inf"}', {}, "has a label that is not finite"),
        ('{"a": "x", "label": NaN}', {}, "has a label that is not finite"),
        ('{"a": "x"}', {"columns": ["A"]}, r"x\.jsonl has no column 'A': did you mean a\?"),
        ('{"a": "x"}', {"columns": ["a", "a"]}, "is named twice: a, a"),
        ('{"a": "x", "score": 1}', {"columns": ["a", "score"]}, "'score' is the name of a column of labels"),
        ('{"score": 1}', {}, "has no column of texts"),
        ('{"a": "x"}', {"split": "test"}, "is a file, which has no split 'test'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(InvalidData, match=message):
        sources.read(str(tmp_path / "x.jsonl"), **options)


def test_what_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1\n")
    with pytest.raises(InvalidData, match=r"x\.csv:2 has 1 columns, but the header has 2"):
        sources.read(str(tmp_path / "x.csv"))
    (tmp_path / "x.csv").write_text("text,text,label\na,b,1\n")
    with pytest.raises(InvalidData, match=r"x\.csv:1: two columns are called 'text'"):
        sources.read(str(tmp_path / "x.csv"))
    (tmp_path / "x.txt").write_text("a")
    with pytest.raises(InvalidData, match=r"must be a \.csv, \.tsv, \.jsonl or \.parquet file, or a folder"):
        sources.read(str(tmp_path / "x.txt"))
    with pytest.raises(DataNotFound, match="does not exist"):
        sources.read(str(tmp_path / "none.csv"))
    with pytest.raises(DataNotFound, match="is no data: neither a retrieval set"):
        sources.read(str(tmp_path))


def test_a_digest_of_files_is_of_names_and_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    seen = set()
    for file, text in (("corpus.jsonl", "a"), ("corpus.jsonl", "b"), ("qrels/test.tsv", "a"), ("qrels/dev.tsv", "")):
        (folder / file).write_text(text)
        seen |= {sources.digest_of_files(str(folder)), sources.digest_of_files(str(folder / file))}
    assert len(seen) == 7  # the file with "a" alone is the same wherever it stands


def test_a_digest_is_of_rows_and_columns() -> None:
    def digest(**columns: list[Any]) -> str:
        return str(sources.digest_of(datasets.Dataset.from_dict(columns)))

    found = [digest(a=["x", "y"]), digest(b=["x", "y"]), digest(a=["y", "x"]), digest(a=["xy"]), digest(a=["x", "y"])]
    assert found[0] == found[4]
    assert len(set(found)) == 4
    rows = datasets.Dataset.from_dict({"a": ["x"], "b": [["y", "z"]], "label": [1]})
    assert list(sources.texts_of(rows)) == [["x", "y", "z"]]
