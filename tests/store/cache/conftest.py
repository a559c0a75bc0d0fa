"""What the tests of the cache share: a store in memory, a model, and what its engine was asked to compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from vicinal import SentenceTransformer


class Memory:
    """The least that a store can be."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.asked: list[int] = []
        self.put: list[int] = []

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked.append(len(keys))
        return [self.rows.get(key) for key in keys]

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        self.put.append(len(items))
        self.rows.update(items)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture(scope="session")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_static(tmp_path_factory.mktemp("static") / "model", normalize=False)


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without normalisation, so that cutting and normalising matter."""
    listed = tiny.BERT_MODULES[:2]
    return tiny.write_bert(tmp_path_factory.mktemp("bert") / "model", listed=listed)


@pytest.fixture(scope="session")
def bert(bert_folder: Path) -> SentenceTransformer:
    """Loaded once; tests take copies."""
    return SentenceTransformer(bert_folder, dtype="float32", threads=1)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Callable[[SentenceTransformer], list[Any]]:
    """Watch a model: the list of texts that reach its tokenizer from here on."""

    def watch(model: SentenceTransformer) -> list[Any]:
        seen: list[Any] = []
        windows = model._engine.windows

        def watched(texts: Any, job: Any) -> Any:
            texts = list(texts)
            seen.extend(texts)
            return windows(iter(texts), job)

        monkeypatch.setattr(model._engine, "windows", watched)
        return seen

    return watch
