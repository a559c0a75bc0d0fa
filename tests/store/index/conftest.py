"""A small model and indexes made with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from vicinal import Index, SentenceTransformer


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    """A table of vectors of 13 dimensions."""
    return SentenceTransformer(tiny.write_static(tmp_path_factory.mktemp("index") / "model"))


@pytest.fixture
def create(model: SentenceTransformer, tmp_path: Path) -> Iterator[Callable[..., Index]]:
    """Make an index in a folder of its own; all are closed at the end."""
    made: list[Index] = []

    def one(name: str = "docs.vicinal", **options: Any) -> Index:
        made.append(Index.create(tmp_path / name, options.pop("model", model), **options))
        return made[-1]

    yield one
    for index in made:
        index.close()


@pytest.fixture
def index(create: Callable[..., Index]) -> Index:
    """An index with three documents."""
    found = create()
    found.add(["red apple", "tax law", "the green apple"], ["a", "b", "c"], [{"n": 1}, {"n": 2, "s": "x"}, None])
    return found
