"""Tests of `vicinal search`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import FAQ, ROOT
from vicinal import SentenceTransformer

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("how long do I have to return an item?", 18),
        ("I cannot remember my password", 36),
        ("can I pay with a credit card?", 25),
    ],
)
def test_a_question_finds_its_answer(run: Run, monkeypatch: pytest.MonkeyPatch, query: str, line: int) -> None:
    monkeypatch.chdir(ROOT)
    result = run("search", query, "examples/shop-faq.txt", "--top-k", 3)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [shown.split("\t") for shown in result.stdout.splitlines()]
    assert len(lines) == 3
    assert lines[0][1:] == [f"examples/shop-faq.txt:{line}", FAQ.read_text("utf-8").splitlines()[line - 1]]
    assert [float(shown[0]) for shown in lines] == sorted((float(shown[0]) for shown in lines), reverse=True)


def test_hits_are_those_of_every_comparison(run: Run, tmp_path: Path) -> None:
    texts = [f"{a} {b} {c}" for a in ("red", "blue", "old") for b in map(str, range(600)) for c in ("car", "house")]
    (tmp_path / "a.txt").write_text("\n\n".join(texts[:3000]))  # several portions, blank lines between
    (tmp_path / "b.txt").write_text("\n".join(texts[3000:]))
    found = json.loads(run("search", "old house 7", tmp_path, "--top-k", 50, "--json").stdout)
    model = SentenceTransformer()
    query, *vectors = model.encode(["old house 7", *texts], normalize_embeddings=True).astype(np.float64)
    scores = np.array(vectors) @ query
    best = np.argsort(-scores, kind="stable")[:50]
    np.testing.assert_allclose([hit["score"] for hit in found["hits"]], scores[best], atol=2e-6)
    assert {hit["text"] for hit in found["hits"]} == {texts[i] for i in best}
    for hit in found["hits"]:
        lines = Path(hit["file"]).read_text().split("\n")
        assert lines[hit["line"] - 1] == hit["text"]


def test_equal_scores_keep_the_order_of_the_lines(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("same\n" * 3000)
    hits = json.loads(run("search", "same", tmp_path / "in.txt", "--top-k", 5, "--json").stdout)["hits"]
    assert [hit["line"] for hit in hits] == [1, 2, 3, 4, 5]


def test_json(run: Run) -> None:
    found = json.loads(run("search", "where is my parcel?", FAQ, "--json", "-k", 1).stdout)
    assert set(found) == {"query", "model", "similarity", "hits"}
    assert (found["query"], found["model"], found["similarity"]) == (
        "where is my parcel?", "vicinal-static-en", "cosine",
    )  # fmt: skip
    assert [set(hit) for hit in found["hits"]] == [{"score", "file", "line", "text"}]


def test_min_score(run: Run) -> None:
    scores = [float(line.split("\t")[0]) for line in run("search", "password", FAQ, "-k", 42).stdout.splitlines()]
    bound = (scores[3] + scores[4]) / 2
    assert len(run("search", "password", FAQ, "-k", 42, "--min-score", bound).stdout.splitlines()) == 4
    result = run("search", "password", FAQ, "--min-score", 0.9999)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing scores 0.9999 or more\n")
    assert json.loads(run("search", "password", FAQ, "--min-score", 0.9999, "--json").stdout)["hits"] == []


def test_standard_input(run: Run) -> None:
    result = run("search", "a fruit", "-", "-k", 1, input="the tax law\na ripe apple\n")
    assert result.stdout.split("\t")[1:] == ["stdin:2", "a ripe apple\n"]


def test_columns_fields_and_odd_characters(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('id,answer\n1,"a\tgreen\napple"\n')
    assert run("search", "apple", tmp_path / "in.csv", "--column", "answer").stdout.endswith(
        "in.csv:2\ta green apple\n"
    )
    (tmp_path / "in.jsonl").write_text('{"answer": "a red apple"}\n')
    assert run("search", "apple", tmp_path / "in.jsonl", "--field", "answer").stdout.endswith(":1\ta red apple\n")


def test_prompts_reach_query_and_lines(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("apple\n")
    options = ("--query-prompt", "find: ", "--document-prompt", "text: ", "--truncate-dim", 64)
    (hit,) = json.loads(run("search", "a fruit", tmp_path / "in.txt", "--json", *options).stdout)["hits"]
    model = SentenceTransformer(truncate_dim=64)
    expected = model.similarity(model.encode("find: a fruit"), model.encode("text: apple"))
    assert hit["score"] == pytest.approx(float(expected[0][0]), abs=2e-6)


def test_nothing_to_search(run: Run, tmp_path: Path) -> None:
    for content, arguments, code, message in [
        ("\n \n", ("x",), 1, "error: there is no text in "),
        ("text", (" ",), 2, "the query is empty"),
    ]:
        (tmp_path / "in.txt").write_text(content)
        result = run("search", *arguments, tmp_path / "in.txt")
        assert result.exit_code == code
        assert message in result.stderr


def test_a_long_query_and_a_long_line_are_named(run: Run, tmp_path: Path, small: Path) -> None:
    (tmp_path / "in.txt").write_text("short\n" + "king " * 100)
    result = run("search", "river " * 60, tmp_path / "in.txt", "--model", small, "--backend", "numpy")
    first, second = result.stderr.splitlines()
    assert "the query (62 tokens)" in first
    assert f"{tmp_path}/in.txt:2 (102 tokens)" in second
