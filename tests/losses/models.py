"""sentence-transformers' own model on a tiny random folder, and losses compared on it by value and gradient."""

from __future__ import annotations

import random
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests import tiny

ANCHORS = ["the red apple", "tax law", "green", "the law the tax the law the law", "apple -", "a b c d"]
POSITIVES = ["red", "the law the law", "green green", "tax", "apple apple apple", "a b c d e f g"]
NEGATIVES = ["law", "red apple", "the the", "green tax", "query : tax", "a b"]
OTHERS = ["query", "green law", "red red red", "apple", "the tax", "q r s"]
TEXTS = (ANCHORS, POSITIVES, NEGATIVES, OTHERS)


def sentence_model(seed: int = 0, vocabulary: tuple[str, ...] = tiny.VOCABULARY) -> Any:
    """A float64 SentenceTransformer of the reference, dropout off; a test that changes it takes a copy."""
    model = _loaded(seed, vocabulary)
    assert not any(module.training for module in model.modules())
    return model


@cache
def _loaded(seed: int, vocabulary: tuple[str, ...]) -> Any:
    from sentence_transformers import SentenceTransformer

    folder = Path(tempfile.mkdtemp()) / "model"
    tiny.write_bert(folder, tensors=tiny.bert_tensors(seed), listed=tiny.BERT_MODULES[:2])
    tiny.write_json(folder / "tokenizer.json", tiny.wordpiece(vocabulary))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SentenceTransformer(str(folder), device="cpu").double().eval()


def columns(count: int, rows: int = len(ANCHORS), model: Any = None) -> list[dict[str, Any]]:
    """Columns of tokenized texts."""
    return [(model or sentence_model()).preprocess(list(texts[:rows])) for texts in TEXTS[:count]]


def run(
    loss: Any, model: Any, given: Sequence[Any], labels: Any, seed: int = 0, weights: Any = None
) -> tuple[Any, dict[str, Tensor]]:
    """A loss's value, and the gradient of every parameter of the model and of the loss itself."""
    modules = [model, loss]
    for module in modules:
        module.zero_grad(set_to_none=True)
    random.seed(seed)
    torch.manual_seed(seed)
    value = loss([dict(column) if isinstance(column, Mapping) else column for column in given], labels)
    total = torch.stack(list(value.values())).sum() if isinstance(value, dict) else value
    total.backward()
    named = [*model.named_parameters(prefix="model"), *loss.named_parameters(prefix="loss")]
    gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}
    detached = {name: part.detach() for name, part in value.items()} if isinstance(value, dict) else value.detach()
    for module in modules:
        module.zero_grad(set_to_none=True)
    return detached, gradients


def assert_same(theirs: Any, ours: Any, model: Any, given: Sequence[Any], labels: Any, tolerance: float = 1e-9) -> None:
    """The two losses agree in value and in every gradient, of which some are not zero."""
    expected, wanted = run(theirs, model, given, labels)
    value, found = run(ours, model, given, labels)
    # The reference may answer in float32 where it makes the labels so; ours keeps the model's type.
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance, check_dtype=False)
    model_wanted = {name: g for name, g in wanted.items() if name.startswith("model.")}
    model_found = {name: g for name, g in found.items() if name.startswith("model.")}
    assert model_found.keys() == model_wanted.keys()
    assert any(gradient.abs().max() > 1e-6 for gradient in model_wanted.values())
    for name, gradient in model_wanted.items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(
            model_found[name] / scale, gradient / scale, rtol=tolerance, atol=tolerance, msg=name
        )
