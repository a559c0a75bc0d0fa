"""What a settings file says to measure on, as tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vicinal.errors import InvalidData

measures = pytest.importorskip("vicinal.recipes.measures")
config = pytest.importorskip("vicinal.recipes.config")


def task(path: Path, rows: list[list[Any]], instructions: dict[str, Any] | None = None, **options: Any) -> Any:
    names = ["a", "b", "c"][: len(rows[0]) - options.pop("labelled", 0)]
    names += ["label"] * (len(rows[0]) - len(names))
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    return measures.task_of(config.EvaluationConfig(str(path), "x", **options), instructions or {})


@pytest.mark.parametrize(
    ("rows", "labelled", "expected"),
    [
        ([["q", "d"], ["q", "e"], ["r", "d"]], 0, "x: 2 queries, 2 documents"),
        ([["q", "d", 0], ["q", "e", 1]], 1, "ap"),
        ([["q", "d", "0"], ["q", "e", "1"]], 1, "ap"),
        ([["q", "d", 0.5], ["q", "e", 1]], 1, "spearman"),
        ([["q", "d", "e"]], 0, "x: 1 triplets"),
    ],
)
def test_the_columns_say_the_task(tmp_path: Path, rows: list[list[Any]], labelled: int, expected: str) -> None:
    found = task(tmp_path / "x.jsonl", rows, labelled=labelled)
    assert expected in (found.described, found.primary)


def test_classification_by_a_file_of_known_texts(tmp_path: Path) -> None:
    (tmp_path / "known.jsonl").write_text('{"a": "x", "label": "pay"}\n{"a": "y", "label": "card"}\n')
    found = task(tmp_path / "x.jsonl", [["z", "card"]], labelled=1, known=str(tmp_path / "known.jsonl"))
    assert found.described == "x: 1 texts, 2 classes"
    assert list(found.texts) == ["z"]  # the known ones may be trained on
    with pytest.raises(InvalidData, match="the held-out label 'cash' stands on no text"):
        task(tmp_path / "x.jsonl", [["z", "cash"]], labelled=1, known=str(tmp_path / "known.jsonl"))
    with pytest.raises(InvalidData, match="classification needs `known`"):
        task(tmp_path / "x.jsonl", [["z", "card"]], labelled=1)


def test_the_centres_are_not_made_of_what_is_measured(tmp_path: Path) -> None:
    (tmp_path / "known.jsonl").write_text('{"a": "x", "label": "pay"}\n{"a": "Y ", "label": "card"}\n')
    known = str(tmp_path / "known.jsonl")
    rows = [["y", "pay"], ["z", "pay"]]
    found = task(tmp_path / "x.jsonl", rows, labelled=1, known=known)
    assert found.described == f"x: 2 texts, 1 classes (1 texts of {known} left out, which stand in it)"
    with pytest.raises(InvalidData, match="every text stands in what is measured on"):
        task(tmp_path / "known.jsonl", [["x", "pay"], ["y", "card"]], labelled=1, known=known)
    assert task(tmp_path / "x.jsonl", rows, labelled=1, known=known, limit=1).described.startswith("x: 1 texts")
    datasets = pytest.importorskip("datasets")
    parts = {name: datasets.Dataset.from_dict({"a": [f"{name} text"], "label": ["pay"]}) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "both"))
    made = measures.task_of(
        config.EvaluationConfig(str(tmp_path / "both"), "x", "classification", known=str(tmp_path / "both")), {}
    )
    assert list(made.texts) == ["test text"]
    parts["test"].save_to_disk(str(tmp_path / "one"))
    one = config.EvaluationConfig(str(tmp_path / "one"), "x", "classification", split="dev", known=known)
    with pytest.raises(InvalidData, match="holds one set of rows, no split 'dev': leave split out"):
        measures.task_of(one, {})


def test_instructions_stand_where_they_belong(tmp_path: Path) -> None:
    told = {"retrieval": {"query": "q: ", "document": "d: "}, "similarity": "s: ", "nli": "n: "}
    evaluator = task(tmp_path / "a.jsonl", [["q", "d"]], told).evaluator
    assert (evaluator.query_prompt, evaluator.corpus_prompt) == ("q: ", "d: ")
    evaluator = task(tmp_path / "a.jsonl", [["q", "d"]], {"retrieval": "q: "}).evaluator
    assert (evaluator.query_prompt, evaluator.corpus_prompt) == ("q: ", None)
    assert (
        task(tmp_path / "a.jsonl", [["q", "d", 0.5]] * 2, told, labelled=1).evaluator.encode_options["prompt"] == "s: "
    )
    assert task(tmp_path / "a.jsonl", [["q", "d", "e"]], told).evaluator.encode_options["prompt"] == "n: "
    assert "prompt" not in task(tmp_path / "a.jsonl", [["q", "d", 1]], told, labelled=1).evaluator.encode_options


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([["q", "d", 0.5]], {"labelled": 1, "task": "retrieval"}, "retrieval needs 2 columns of texts and no label"),
        ([["q", "d"]], {"task": "similarity"}, "similarity needs 2 columns of texts and a label; there are a, b"),
        ([["q", "d"]], {"task": "triplets"}, "triplets needs 3 columns of texts and no label"),
        ([["q"]], {}, "has 1 columns of texts and no label, which is no task"),
        ([["q", ["d", "e"]]], {}, "'b' must hold texts, not lists"),
        ([["q", "d", [1.0, 2.0]]], {"labelled": 1}, "a label must be one number"),
        ([["q", "d", 2]], {"labelled": 1, "task": "duplicates"}, r"labels must be 0 or 1, but row 0 has 2\.0"),
    ],
)
def test_data_of_another_form(tmp_path: Path, rows: list[list[Any]], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        task(tmp_path / "x.jsonl", rows, **options)
