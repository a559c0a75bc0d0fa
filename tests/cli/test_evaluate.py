"""`vicinal eval`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.evaluation import EmbeddingSimilarityEvaluator, InformationRetrievalEvaluator

TEXTS = ["red apple", "green apple", "tax law", "the law", "red tax", "green query", "the apple", "law"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.write_bert(tmp_path / "model")


def test_pairs(run: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    scores = [0.1, 0.9, 0.4, 0.3]
    rows = "".join(f"{a}\t{b}\t{score}\n" for a, b, score in zip(TEXTS[:4], TEXTS[4:], scores, strict=True))
    (tmp_path / "sts.tsv").write_text(f"sentence1\tsentence2\tscore\n{rows}")
    done = run("eval", model, tmp_path / "sts.tsv", "--against", model, "--json", "--dtype", "float32")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    expected = EmbeddingSimilarityEvaluator(TEXTS[:4], TEXTS[4:], scores)(SentenceTransformer(model, dtype="float32"))
    assert found["data"] == "sts: 4 pairs"
    assert found["models"][0]["metrics"]["spearman"]["value"] == pytest.approx(expected["spearman_cosine"])
    assert found["differences"]["pearson"]["value"] == 0
    for option in ("--split", "--query-prompt", "--document-prompt"):
        done = run("eval", model, tmp_path / "sts.tsv", option, "x")
        assert done.exit_code == 2
        assert "is a file of pairs" in done.output


def test_retrieval(run: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    documents = {f"d{i}": text for i, text in enumerate(TEXTS)}
    queries = {"q0": "apple", "q1": "law", "q2": "query tax"}
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    judged = {"q0": {"d0": 1, "d1": 1}, "q1": {"d7": 1}, "q2": {"d4": 1}}
    lines = [f"{query}\t{document}\t{grade}" for query, d in judged.items() for document, grade in d.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines))
    options = ["--dtype", "float32", "--query-prompt", "query: "]
    done = run("eval", model, folder, *options)
    assert done.exit_code == 0, done.output
    relevant = {query: set(documents) for query, documents in judged.items()}
    evaluator = InformationRetrievalEvaluator(queries, documents, relevant, query_prompt="query: ")
    expected = evaluator(SentenceTransformer(model, dtype="float32"))["cosine_ndcg@10"]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ndcg@10")]
    assert line.startswith(f"ndcg@10\t{expected:.4f} [")
    assert np.isfinite(expected)
    done = run("eval", model, folder, "--columns", "a,b,c")
    assert done.exit_code == 2
    assert "is a folder in BEIR form" in done.output
