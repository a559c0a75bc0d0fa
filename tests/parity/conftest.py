"""Texts for the layouts of well-known repositories."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def texts(reference_rows: list[dict[str, Any]]) -> list[str]:
    """Writing systems, accents, controls, special tokens' names, blanks, plain English: up to some hundred tokens."""
    kinds = ("writing", "accents", "control", "special", "blank", "technical")
    rows = [row["text"] for row in reference_rows if row["kind"] in kinds and len(row["text"]) < 120]
    books = [row["text"] for row in reference_rows if row["kind"] == "books"]
    return [*rows[::2], *books[:12], "the " * 45]


@pytest.fixture(scope="session")
def corpus(reference_rows: list[dict[str, Any]]) -> list[str]:
    return [row["text"] for row in reference_rows if row["kind"] in ("writing", "books", "accents")]
