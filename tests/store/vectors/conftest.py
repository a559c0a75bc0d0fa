"""What the tests of kept vectors share: a stream of texts, a way to compute that needs no model, folders compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.store.vectors.manifest import Settings

ROOT = Path(__file__).parents[3]
DIMS = 5


def settings(**changes: Any) -> Settings:
    known: dict[str, Any] = {
        "model": "some-model", "fingerprint": "f" * 64, "dims": DIMS, "prompt": "", "task": None, "normalized": False,
        "backend": "numpy", "dtype": "float32", "numerics": "float32", "batch_tokens": 1024, "batch_size": None,
        "shard_rows": 100, "format": "npy",
    }  # fmt: skip
    return Settings(**{**known, **changes})


def corpus(rows: int) -> list[str]:
    return [f"the tax {i} of the law {i * 7 % 5}" + " apple" * (i % 7) for i in range(rows)]


def vector(text: Any) -> list[float]:
    """Of no meaning, but every text has its own."""
    whole = text if isinstance(text, str) else "|".join(text)
    return [float(len(whole)), *map(float, whole.encode()[-4:].rjust(4))]


def expected(texts: list[Any]) -> np.ndarray:
    return np.array([vector(text) for text in texts], np.float32).reshape(-1, DIMS)


class Computed:
    """Computes, and remembers what."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.pieces: list[int] = []

    def __call__(self, texts: list[Any], before: int) -> np.ndarray:
        self.rows += range(before, before + len(texts))
        self.pieces.append(len(texts))
        return expected(texts)


@pytest.fixture
def computed() -> Computed:
    return Computed()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def static_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SentenceTransformer]:
    folder = tiny.write_static(tmp_path_factory.mktemp("static") / "model", normalize=False)

    def load(**options: Any) -> SentenceTransformer:
        model = SentenceTransformer(folder, **options)
        model.name = "model"
        return model

    return load


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    listed = tiny.BERT_MODULES[:2]
    folder = tiny.write_bert(tmp_path_factory.mktemp("bert") / "model", listed=listed)
    model = SentenceTransformer(folder, dtype="float32", threads=1)
    model.name = "bert"
    return model
