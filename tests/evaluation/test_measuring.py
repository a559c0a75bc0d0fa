"""Tasks: the numbers of the evaluators, with intervals; the class-centre evaluator by plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vicinal.errors import InvalidData
from vicinal.evaluation import measuring
from vicinal.evaluation.files import PairSet, RetrievalSet

WORDS = [f"word {i}" for i in range(40)]


class Model:
    """Random vectors, the same for the same text."""

    similarity_fn_name = "cosine"

    def encode(self, texts: list[str], prompt: str | None = None, **options: Any) -> Any:
        return np.stack([self.vector(f"{prompt or ''}{text}") for text in texts])

    encode_query = encode_document = encode

    def vector(self, text: str) -> Any:
        return np.random.default_rng([ord(sign) for sign in text]).standard_normal(4).astype(np.float32)

    def similarity(self, a: Any, b: Any) -> Any:
        from vicinal.similarity import cos_sim

        return cos_sim(a, b)


def test_each_task_has_its_evaluators_number() -> None:
    relevant = {f"q{i}": {f"d{i}": 1.0, f"d{i + 1}": 1.0} for i in range(20)}
    sets = RetrievalSet(
        "set/test", {f"q{i}": WORDS[i] for i in range(20)}, {f"d{i}": WORDS[-i] for i in range(30)}, relevant
    )
    pairs = PairSet("pairs", WORDS[:20], WORDS[20:], np.linspace(0, 1, 20).tolist())
    labels = [i % 3 for i in range(20)]
    tasks = [
        measuring.retrieval(sets),
        measuring.similarity(pairs),
        measuring.triplets("three", WORDS[:10], WORDS[10:20], WORDS[20:30]),
        measuring.classification("classes", (WORDS[:20], labels), (WORDS[20:], labels)),
    ]
    for task in tasks:
        assert task.evaluator is not None
        found = task.measure(Model())
        numbers = task.evaluator(Model())
        assert isinstance(numbers, dict)
        number = found.metrics[task.primary]
        assert number.value == pytest.approx(numbers[str(task.evaluator.primary_metric)])
        assert number.low < number.value < number.high
        assert found.minus(found)[task.primary].value == 0
        assert "/" not in task.evaluator.csv_file
    assert set(tasks[0].texts) == set(WORDS[:20])
    assert set(tasks[1].texts) == set(WORDS)


def test_class_centres_by_plain_loops() -> None:
    model, labels = Model(), [("x", "y", "z")[i % 3] for i in range(20)]
    task = measuring.ClassCentreEvaluator((WORDS[:20], labels), (WORDS[20:], labels))
    right = 0
    for text, label in zip(WORDS[20:], labels, strict=True):
        best, nearest = -2.0, ""
        for name in "xyz":
            own = [model.vector(t) for t, known in zip(WORDS[:20], labels, strict=True) if known == name]
            centre = sum(vector / np.linalg.norm(vector) for vector in own)
            vector = model.vector(text)
            cosine = float(vector @ centre / np.linalg.norm(vector) / np.linalg.norm(centre))
            if cosine > best:
                best, nearest = cosine, name
        right += nearest == label
    assert task(model) == {"accuracy": right / 20}
    assert 0 < right < 20


def test_a_class_without_a_centre_is_an_error() -> None:
    with pytest.raises(InvalidData, match=r"label 'z' stands on no text with a known label \(1 such texts\)"):
        measuring.classification("c", (["a", "b"], ["x", "y"]), (["c", "d"], ["x", "z"]))
    with pytest.raises(InvalidData, match="row i of each belongs together"):
        measuring.classification("c", (["a", "b"], ["x"]), (["c"], ["x"]))
