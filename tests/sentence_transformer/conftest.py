"""A tiny BERT and a tiny static model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.sentence_transformer.texts import TEXTS, load
from vicinal import SentenceTransformer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"query": "query: ", "list": "- "}
    return tiny.write_bert(tmp_path_factory.mktemp("models") / "bert", settings={"prompts": prompts})


@pytest.fixture(scope="module")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_static(tmp_path_factory.mktemp("models") / "static", normalize=False)


@pytest.fixture(scope="module")
def shared(folder: Path) -> SentenceTransformer:
    """For tests that change nothing."""
    return load(folder)


@pytest.fixture(scope="module")
def alone(shared: SentenceTransformer) -> np.ndarray:
    """The vectors of TEXTS, each computed by itself."""
    return np.stack([shared.encode(text) for text in TEXTS])


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    """For tests that change settings."""
    return load(folder)


@pytest.fixture(scope="module")
def static(static_folder: Path) -> SentenceTransformer:
    return load(static_folder)
