"""sentence-transformers' CrossEncoder on a tiny random folder."""

from __future__ import annotations

import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tests import tiny
from tests.losses.models import ANCHORS, NEGATIVES, OTHERS, POSITIVES

QUERIES = ANCHORS[:3]
LISTS = [["red", "the law the law", "green"], ["tax", "law"], ["green green", "apple -", "a b c", "red red"]]
COLUMNS = [ANCHORS, POSITIVES, NEGATIVES, OTHERS]


def pair_model(labels: int = 1) -> Any:
    """A float64 CrossEncoder of the reference, dropout off; a test that changes it takes a copy."""
    model = _loaded(labels)
    assert not any(module.training for module in model.modules())
    return model


@cache
def _loaded(labels: int) -> Any:
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification

    folder = Path(tempfile.mkdtemp()) / "model"
    torch.manual_seed(0)
    network = BertForSequenceClassification(BertConfig(**tiny.CONFIG, num_labels=labels))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 1.5 / max(parameter.shape[-1], 4) ** 0.5)
    network.save_pretrained(folder)
    tiny.write_json(folder / "tokenizer.json", tiny.wordpiece())
    tiny.write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CrossEncoder(str(folder), device="cpu").double().eval()
