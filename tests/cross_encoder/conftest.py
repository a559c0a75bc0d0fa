"""Folders of tiny cross-encoders, and the same in sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import tiny


def write_classifier(folder: Path, labels: int = 1, seed: int = 0, **config: Any) -> Path:
    """A BERT with a head, in transformers' own layout."""
    rng = np.random.default_rng(seed + 100)
    body = {f"bert.{name}": tensor for name, tensor in tiny.bert_tensors(seed).items()}
    shapes = {"bert.pooler.dense": tiny.WIDTH, "classifier": labels}
    for name, rows in shapes.items():
        body[f"{name}.weight"] = rng.standard_normal((rows, tiny.WIDTH)).astype(np.float32)
        body[f"{name}.bias"] = rng.standard_normal(rows).astype(np.float32)
    names = {str(i): f"LABEL_{i}" for i in range(labels)}
    own = {"architectures": ["BertForSequenceClassification"], "id2label": names,
           "label2id": {name: int(i) for i, name in names.items()}}  # fmt: skip
    tiny.write_json(folder / "config.json", {**tiny.CONFIG, **own, **config})
    tiny.write_json(folder / "tokenizer.json", tiny.wordpiece())
    tiny.write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": 23})
    save_file(body, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write one, once for each kind."""
    made: dict[Any, Path] = {}

    def make(labels: int = 1, **config: Any) -> Path:
        key = (labels, repr(sorted(config.items())))
        if key not in made:
            made[key] = write_classifier(tmp_path_factory.mktemp("ce"), labels, **config)
        return made[key]

    return make


@pytest.fixture(scope="session")
def peer() -> Callable[..., Any]:
    """sentence-transformers' CrossEncoder."""
    pytest.importorskip("sentence_transformers")
    import logging

    from sentence_transformers import CrossEncoder

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    return CrossEncoder


WORDS = ("red", "green", "apple", "tax", "law", "the", "query:", "taxing", "中", "é", "[SEP]", "")


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    """Of every length, empty and longer than the model, some twice."""
    rng = np.random.default_rng(7)
    lengths = [(0, 0), (0, 3), (3, 0), (40, 2), (2, 40), (40, 40), *rng.integers(0, 14, (30, 2)).tolist()]
    found = [tuple(" ".join(rng.choice(WORDS, n)) for n in pair) for pair in lengths]
    return [*found, *found[:5]]  # type: ignore[list-item]
