"""Texts, and what is done with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vicinal import SentenceTransformer

WORDS = ("red", "green", "apple", "tax", "law", "the", "query", "a", "b", "c")
LIMIT = 17
LONG = "red " * 40
CLOSE = 2e-6
"""What the batch that a text is in may change, at float32."""


def sentences(n: int, seed: int = 0) -> list[str]:
    """Different texts of 1 to 9 words."""
    rng = np.random.default_rng(seed)
    return [" ".join([str(n), *rng.choice(WORDS, rng.integers(0, 9))]) for n in range(n)]


TEXTS = [*sentences(31), "", "red apple", "the  law -"]


def load(folder: Path, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(folder, **{"dtype": "float32", "threads": 2, **options})


def assert_near(found: Any, wanted: Any, tolerance: float = CLOSE) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
