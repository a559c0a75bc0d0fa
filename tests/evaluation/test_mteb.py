"""vicinal.evaluation.mteb and `vicinal eval --mteb`, by the package mteb itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.tiny import write_bert
from vicinal import SentenceTransformer
from vicinal.cli.app import app
from vicinal.errors import InvalidData, MissingExtra
from vicinal.evaluation import measuring
from vicinal.evaluation.files import read_beir, read_pairs
from vicinal.evaluation.mteb import MtebEncoder, evaluate_mteb
from vicinal.evaluation.mteb_tasks import local_task

BATCHES = [{"text": ["red apple", "green"], "title": ["", ""]}, {"text": ["tax law"]}]
TEXTS = ["red apple", "green", "tax law"]
PROMPTS = {"query": "query: ", "document": "the ", "STS": "apple ", "Scored-query": "law ", "Scored": "tax "}


class Role(str, Enum):
    """As mteb has it."""

    query = "query"
    document = "document"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "model", settings={"prompts": PROMPTS})


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder, backend="numpy")


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """Four documents and three queries of which one has a grade of 0 and one of 2."""
    at = tmp_path / "own set"
    (at / "qrels").mkdir(parents=True)
    documents = ["red apple", "green apple", "tax law", "query law the"]
    corpus = [{"_id": f"d{i}", "title": "the" * (i % 2), "text": text} for i, text in enumerate(documents)]
    queries = [{"_id": f"q{i}", "text": text} for i, text in enumerate(["red", "law", "green the"])]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (at / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "q0\td0\t2\nq0\td1\t1\nq1\td2\t1\nq1\td3\t0\nq2\td3\t1\n"
    (at / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return at


@pytest.fixture
def table(tmp_path: Path) -> Path:
    at = tmp_path / "pairs" / "test.tsv"
    at.parent.mkdir()
    rows = ["red apple\tgreen\t3.5", "tax law\tlaw\t4.5", "the\tgreen apple\t0", "red\tlaw tax\t1"]
    at.write_text("sentence1\tsentence2\tscore\n" + "\n".join(rows) + "\n")
    return at


@pytest.mark.parametrize(
    ("task", "kind", "role", "expected"),
    [
        ("Other", "Retrieval", Role.query, lambda m: m.encode_query(TEXTS)),
        ("Other", "Retrieval", "document", lambda m: m.encode_document(TEXTS)),
        ("Other", "Retrieval", None, lambda m: m.encode(TEXTS)),
        ("Other", "STS", None, lambda m: m.encode(TEXTS, prompt="apple ")),
        ("Other", "STS", Role.document, lambda m: m.encode_document(TEXTS, prompt="apple ")),
        ("Scored", "STS", Role.query, lambda m: m.encode_query(TEXTS, prompt="law ")),
        ("Scored", "STS", Role.document, lambda m: m.encode_document(TEXTS, prompt="tax ")),
    ],
)
def test_vectors_of_a_task(
    model: SentenceTransformer, task: str, kind: str, role: Any, expected: Callable[[Any], np.ndarray]
) -> None:
    found = MtebEncoder(model).encode(
        iter(BATCHES), task_metadata=SimpleNamespace(name=task, type=kind), hf_split="test", hf_subset="default",
        prompt_type=role, batch_size=2, show_progress_bar=False,
    )  # fmt: skip
    np.testing.assert_array_equal(found, expected(model))


def test_similarity_is_the_models(model: SentenceTransformer) -> None:
    a, encoder = model.encode(TEXTS), MtebEncoder(model)
    np.testing.assert_array_equal(encoder.similarity(a, a), model.similarity(a, a))
    np.testing.assert_array_equal(encoder.similarity_pairwise(a, a), model.similarity_pairwise(a, a))


def test_the_package_measures_as_we_do(model: SentenceTransformer, beir: Path, table: Path, tmp_path: Path) -> None:
    tasks = [local_task(beir), local_task(table)]
    assert [(task.metadata.name, task.metadata.type) for task in tasks] == [
        ("own-set", "Retrieval"),
        ("pairs-test", "STS"),
    ]
    results = evaluate_mteb(model, tasks, tmp_path / "results")
    ours = measuring.retrieval(read_beir(beir)).measure(model).metrics["ndcg@10"].value
    assert results[0].scores["dev"][0]["main_score"] == pytest.approx(ours, abs=1e-5)  # it rounds
    prompted = measuring.similarity(read_pairs(table), "apple ").measure(model).metrics["spearman"].value
    assert results[1].scores["test"][0]["main_score"] == pytest.approx(prompted, abs=1e-5)
    at = tmp_path / "results" / "results" / "local__model" / model.fingerprint
    assert {path.name for path in at.iterdir()} >= {"model_meta.json", "own-set.json", "pairs-test.json"}
    written = json.loads((at / "own-set.json").read_text())
    assert written["scores"]["dev"][0]["main_score"] == pytest.approx(ours, abs=1e-5)


def test_a_task_that_mteb_lacks(model: SentenceTransformer) -> None:
    with pytest.raises(InvalidData, match=r"mteb has no task 'Other'; mteb\.get_tasks\(\) lists"):
        evaluate_mteb(model, ["Other"])


def test_judgments_that_mteb_cannot_score_by(beir: Path, table: Path) -> None:
    table.write_text("sentence1\tsentence2\tscore\nred\tgreen\t3\nlaw\ttax\t3\n")
    with pytest.raises(InvalidData, match=r"test\.tsv has no two scores that differ"):
        local_task(table)
    (beir / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t0.5\n")
    with pytest.raises(InvalidData, match=r"whole numbers as grades, but own set/dev has 0\.5 for query 'q0'"):
        local_task(beir)


def test_without_the_package(model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(MissingExtra, match=r"tasks of mteb needs mteb, .*pip install 'vicinal\[mteb\]'"):
        evaluate_mteb(model, ["Scored"])


def test_command(folder: Path, beir: Path, table: Path, tmp_path: Path) -> None:
    def run(*args: object) -> Any:
        return CliRunner().invoke(app, ["eval", *map(str, args)])

    tasks = ["--mteb", beir, "--mteb", table]
    result = run(folder, "--backend", "numpy", *tasks, "-o", tmp_path / "results")
    found = evaluate_mteb(SentenceTransformer(folder, backend="numpy"), [local_task(beir), local_task(table)])
    scores = [task.get_score() for task in found]
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "task\tsplit\tsubset\tscore",
            f"own-set\tdev\tdefault\t{scores[0]:.4f}",
            f"pairs-test\ttest\tdefault\t{scores[1]:.4f}",
        ],
    )
    assert len(list((tmp_path / "results").rglob("own-set.json"))) == 1
    result = run(folder, "--backend", "numpy", "--mteb", table, "--json")
    assert json.loads(result.stdout)[0]["scores"]["test"][0]["main_score"] == pytest.approx(scores[1])
    assert "there are dev" in run(folder, "--mteb", beir, "--split", "test").stderr
    assert "with --mteb give one model and no data" in run(folder, "data", "--mteb", "Scored").stderr
    assert "has columns and prompts of its own" in run(folder, "--mteb", table, "--query-prompt", "q: ").stderr
    assert "results are written with --mteb alone" in run(folder, "data", "-o", "x").stderr
    assert run(folder, "--mteb", "Other").exit_code == 1
