"""Pairs of short texts, and the same tiny models here and in sentence-transformers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.cross_encoder.conftest import write_classifier

WORDS = ("red", "green", "apple", "tax", "law", "the", "taxing", "a", "b", "cd", "e", "fg")


def texts(count: int, words: int, seed: int) -> list[str]:
    """Different texts, different bags of words too."""
    rng = np.random.default_rng(seed)
    found: dict[tuple[str, ...], str] = {}
    while len(found) < count:
        chosen = rng.choice(WORDS, rng.integers(1, words))
        found.setdefault(tuple(sorted(chosen)), " ".join(chosen))
    return list(found.values())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static model, with prompts."""
    folder = tiny.write_static(tmp_path_factory.mktemp("mining") / "model", seed=3)
    prompts = {"query": "the query: ", "document": "law ", "odd": "green - "}
    tiny.write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    return folder


@pytest.fixture(scope="session")
def model(folder: Path) -> Any:
    from vicinal import SentenceTransformer

    return SentenceTransformer(str(folder))


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Ours and the peer's."""
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import CrossEncoder

    import vicinal

    folder = str(write_classifier(tmp_path_factory.mktemp("scorer"), seed=3))
    return vicinal.CrossEncoder(folder, dtype="float32"), CrossEncoder(folder)


@pytest.fixture(scope="session")
def peer(folder: Path) -> Any:
    """sentence-transformers' model of the same folder."""
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    return SentenceTransformer(str(folder))


@pytest.fixture(scope="session")
def dataset() -> Any:
    """Pairs; some queries with several documents, a pair twice, and a column that does not count."""
    datasets = pytest.importorskip("datasets")
    queries, documents = texts(30, 5, 1), texts(40, 8, 2)
    rows = [(queries[i % 30], documents[i]) for i in range(40)]
    rows = [*rows, rows[3], (queries[3], documents[9]), (queries[3], documents[10])]
    return datasets.Dataset.from_dict(
        {"query": [q for q, _ in rows], "answer": [d for _, d in rows], "id": list(range(len(rows)))}
    )
