"""Evaluators of pair scorers against sentence-transformers' on the same fixed scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.against import same
from tests.evaluation.encoder import Scorer, words
from vicinal.cross_encoder import evaluation as ours
from vicinal.errors import EvaluationWarning, InvalidData
from vicinal.training.readers import InputExample

peer = pytest.importorskip("sentence_transformers.cross_encoder.evaluation")

PAIRS = list(zip(words(1, 60), words(2, 60), strict=True))


@pytest.mark.parametrize("steps", [None, 6])
@pytest.mark.parametrize("options", [{}, {"name": "dup", "batch_size": 4, "prompt_name": "query"}])
def test_binary_classification(options: dict[str, Any], steps: int | None, tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2, 60).tolist()
    mine = ours.CrossEncoderClassificationEvaluator(PAIRS, labels, **options)
    other = peer.CrossEncoderClassificationEvaluator(PAIRS, labels, **options)
    same(mine, other, (Scorer(steps=steps), Scorer(steps=steps)), tmp_path)


@pytest.mark.parametrize("options", [{}, {"name": "nli"}])
def test_classes(options: dict[str, Any], tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, 60).tolist()
    mine = ours.CrossEncoderClassificationEvaluator(PAIRS, labels, **options)
    other = peer.CrossEncoderClassificationEvaluator(PAIRS, labels, **options)
    same(mine, other, (Scorer(4), Scorer(4)), tmp_path)


@pytest.mark.parametrize("options", [{}, {"name": "sts"}])
def test_correlation(options: dict[str, Any], tmp_path: Path) -> None:
    scores = np.random.default_rng(0).integers(0, 6, 60).tolist()
    mine = ours.CrossEncoderCorrelationEvaluator(PAIRS, scores, **options)
    other = peer.CrossEncoderCorrelationEvaluator(PAIRS, scores, **options)
    same(mine, other, (Scorer(), Scorer()), tmp_path)


def samples(first_stage: bool) -> list[dict[str, Any]]:
    """Queries with one to three positives among others."""
    made = []
    for i, query in enumerate(words(6, 25)):
        positive, negative = words(100 + i, 1 + i % 3), words(200 + i, 2 + i % 9)
        if first_stage:
            documents = [*negative[:2], *positive[: i % 3], *negative[2:]]  # some positives are missing, or all
            made.append({"query": query, "positive": positive, "documents": documents})
        else:
            made.append({"query": query, "positive": positive[0] if i % 4 == 0 else positive, "negative": negative})
    return made if first_stage else [*made, {"query": "red", "positive": [], "negative": ["blue"]}]


@pytest.mark.parametrize("first_stage", [False, True])
@pytest.mark.parametrize("options", [{}, {"name": "r", "at_k": 3}, {"always_rerank_positives": False, "mrr_at_k": 5}])
def test_reranking(options: dict[str, Any], first_stage: bool, tmp_path: Path) -> None:
    mine = ours.CrossEncoderRerankingEvaluator(samples(first_stage), **options)
    other = peer.CrossEncoderRerankingEvaluator(samples(first_stage), **options)
    same(mine, other, (Scorer(), Scorer()), tmp_path)


@pytest.mark.parametrize("first_stage", [False, True])
def test_reranking_with_ties(first_stage: bool) -> None:
    """nDCG and MAP are the reference's; its MRR goes by the order that a sort happens to leave equal scores in."""
    rows = samples(first_stage)
    mine, other = ours.CrossEncoderRerankingEvaluator(rows), peer.CrossEncoderRerankingEvaluator(rows)
    found, expected = mine(Scorer(steps=4)), other(Scorer(steps=4))
    assert list(found) == list(expected)
    for key, value in found.items():
        assert "mrr" in key or value == pytest.approx(expected[key])
    backwards = [{**row, "positive": row["positive"] if isinstance(row["positive"], str) else row["positive"][::-1]}
                 for row in rows]  # fmt: skip
    assert ours.CrossEncoderRerankingEvaluator(backwards)(Scorer(steps=4)) == pytest.approx(found)


def test_older_names() -> None:
    names = [name for name in peer.__all__ if not hasattr(ours, name)]
    assert names == []
    examples = [InputExample(texts=list(pair), label=i % 2) for i, pair in enumerate(PAIRS)]
    for name in (
        "CEBinaryAccuracyEvaluator",
        "CEBinaryClassificationEvaluator",
        "CEF1Evaluator",
        "CESoftmaxAccuracyEvaluator",
    ):
        evaluator = getattr(ours, name).from_input_examples(examples, name="old")
        assert evaluator(Scorer())["old_accuracy"] > 0.4
    assert set(ours.CECorrelationEvaluator.from_input_examples(examples)(Scorer())) == {"pearson", "spearman"}


def test_samples_that_are_not_as_they_must_be() -> None:
    evaluator = ours.CrossEncoderRerankingEvaluator
    with pytest.raises(InvalidData, match=r"sample 1 needs 'positive'; it has 'query', 'negative'"):
        evaluator([{"query": "a", "positive": [], "negative": []}, {"query": "a", "negative": ["b"]}])
    with pytest.raises(InvalidData, match="sample 0 needs either 'negative' or 'documents', but has both"):
        evaluator([{"query": "a", "positive": ["b"], "negative": [], "documents": []}])
    with pytest.raises(InvalidData, match="sample 0 needs either 'negative' or 'documents', but has neither"):
        evaluator([{"query": "a", "positive": ["b"]}])
    with pytest.raises(InvalidData, match="there are no samples"):
        evaluator([])


def test_an_empty_first_stage_and_one_document() -> None:
    """Both are errors in the reference."""
    rows = [{"query": "a", "positive": ["b"], "documents": []}, {"query": "a", "positive": ["b"], "documents": ["b"]}]
    found = ours.CrossEncoderRerankingEvaluator(rows)(Scorer())
    assert found == {"map": 1, "mrr@10": 1, "ndcg@10": 1, "base_map": 0.5, "base_mrr@10": 0.5, "base_ndcg@10": 0.5}
    found = ours.CrossEncoderRerankingEvaluator(rows[:1], always_rerank_positives=False)(Scorer())
    assert set(found.values()) == {0.0}


def test_labels_and_shapes_are_checked() -> None:
    with pytest.raises(InvalidData, match=r"labels must be 0 to 1 for this model, but there is 2"):
        ours.CrossEncoderClassificationEvaluator(PAIRS[:2], [0, 2])(Scorer())
    with pytest.raises(InvalidData, match=r"needs scores of shape \(2,\) for 2 pairs, but .* gave shape \(2, 3\)"):
        ours.CrossEncoderCorrelationEvaluator(PAIRS[:2], [0, 2])(Scorer(3))
    with pytest.raises(InvalidData, match="sentence_pairs has 2, labels has 1"):
        ours.CrossEncoderClassificationEvaluator(PAIRS[:2], [0])


def test_equal_scores_have_no_correlation() -> None:
    with pytest.warns(EvaluationWarning, match="one side's scores are all equal"):
        found = ours.CrossEncoderCorrelationEvaluator(PAIRS[:3], [1, 1, 1])(Scorer())
    assert np.isnan(found["spearman"])
