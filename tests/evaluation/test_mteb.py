"""vicinal.evaluation.mteb and `vicinal eval --mteb`, with a stand-in for the package mteb."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.tiny import write_bert
from vicinal import SentenceTransformer
from vicinal.cli.app import app
from vicinal.errors import InvalidData, MissingExtra
from vicinal.evaluation.mteb import MtebEncoder, evaluate_mteb

BATCHES = [{"text": ["red apple", "green"], "title": ["", ""]}, {"text": ["tax law"]}]
TEXTS = ["red apple", "green", "tax law"]
PROMPTS = {"query": "query: ", "document": "the ", "STS": "apple ", "Scored-query": "law ", "Scored": "tax "}


class Role(str, Enum):
    """As mteb has it."""

    query = "query"
    document = "document"


class Result:
    """A task's result, in mteb's form."""

    def __init__(self, name: str, score: float) -> None:
        self.task_name = name
        self.scores = {"test": [{"hf_subset": "default", "main_score": score}]}

    def to_dict(self) -> dict[str, Any]:
        return {"task_name": self.task_name, "scores": self.scores}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "model", settings={"prompts": PROMPTS})


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder, backend="numpy")


@pytest.fixture
def mteb(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, as much of it as is called."""

    def get_task(name: str) -> Any:
        if name != "Scored":
            raise KeyError(f"{name} not found")
        return SimpleNamespace(metadata=SimpleNamespace(name=name, type="STS"))

    def evaluate(encoder: Any, tasks: list[Any], **options: Any) -> Any:
        package.called = options
        results = []
        for task in tasks:
            vectors = encoder.encode(
                BATCHES, task_metadata=task.metadata, hf_split="test", hf_subset="default", prompt_type=Role.query,
                batch_size=32, show_progress_bar=False,
            )  # fmt: skip
            results.append(Result(task.metadata.name, float(encoder.similarity(vectors[:1], vectors[1:])[0, 0])))
        package.meta = encoder.mteb_model_meta
        return SimpleNamespace(task_results=results)

    package: Any = ModuleType("mteb")
    package.get_task, package.evaluate, package.ResultCache = get_task, evaluate, lambda path: ("cache", path)
    meta: Any = ModuleType("mteb.models.model_meta")
    meta.ModelMeta = SimpleNamespace(create_empty=lambda overwrites: overwrites)
    for name, module in (
        ("mteb", package),
        ("mteb.models", ModuleType("mteb.models")),
        ("mteb.models.model_meta", meta),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return package


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


def test_tasks_by_name_and_of_ones_own(model: SentenceTransformer, mteb: Any, tmp_path: Path) -> None:
    own = SimpleNamespace(metadata=SimpleNamespace(name="Own", type="Retrieval"))
    results = evaluate_mteb(model, ["Scored", own], tmp_path)
    assert [result.task_name for result in results] == ["Scored", "Own"]
    a = model.encode_query(TEXTS, prompt="law ")
    assert results[0].scores["test"][0]["main_score"] == pytest.approx(float(model.similarity(a[:1], a[1:])[0, 0]))
    assert mteb.called == {"cache": ("cache", tmp_path), "overwrite_strategy": "always", "show_progress_bar": False}
    assert mteb.meta == {"name": "local/model", "revision": model.fingerprint, "embed_dim": 22, "max_tokens": 17}
    with pytest.raises(InvalidData, match=r"mteb has no task 'Other'; mteb\.get_tasks\(\) lists"):
        evaluate_mteb(model, ["Other"])


def test_without_the_package(model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(MissingExtra, match=r"tasks of mteb needs mteb, .*pip install 'vicinal\[mteb\]'"):
        evaluate_mteb(model, ["Scored"])


def test_command(folder: Path, mteb: Any, tmp_path: Path) -> None:
    def run(*args: object) -> Any:
        return CliRunner().invoke(app, ["eval", *map(str, args)])

    result = run(folder, "--backend", "numpy", "--mteb", "Scored", "-o", tmp_path / "results")
    score = evaluate_mteb(SentenceTransformer(folder, backend="numpy"), ["Scored"])[0].scores["test"][0]["main_score"]
    assert (result.exit_code, result.stdout) == (0, f"task\tsplit\tsubset\tscore\nScored\ttest\tdefault\t{score:.4f}\n")
    result = run(folder, "--backend", "numpy", "--mteb", "Scored", "--json")
    assert json.loads(result.stdout)[0]["scores"]["test"][0]["main_score"] == pytest.approx(score)
    assert mteb.called["cache"] is None
    assert "with --mteb give one model and no data" in run(folder, "data", "--mteb", "Scored").stderr
    assert "results are written with --mteb alone" in run(folder, "data", "-o", "x").stderr
    assert run(folder, "--mteb", "Other").exit_code == 1
