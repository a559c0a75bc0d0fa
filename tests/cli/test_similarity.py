"""Tests of `vicinal similarity`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vicinal import SentenceTransformer

Run = Callable[..., Any]


def cosine(first: str, second: str, **options: Any) -> float:
    a, b = SentenceTransformer().encode([first, second], **options).astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_two_texts(run: Run) -> None:
    near = run("similarity", "a red apple", "a green apple")
    far = run("similarity", "a red apple", "the tax law")
    assert (near.exit_code, near.stderr) == (0, "")
    assert float(near.stdout) == pytest.approx(cosine("a red apple", "a green apple"), abs=6e-5)
    assert float(near.stdout) > float(far.stdout) + 0.3
    assert run("similarity", "the same", "the same").stdout == "1.0000\n"


def test_options_and_json(run: Run) -> None:
    result = run("similarity", "one", "two", "--json", "--prompt", "number ", "--truncate-dim", 30)
    found = json.loads(result.stdout)
    assert found.pop("score") == pytest.approx(cosine("one", "two", prompt="number ", truncate_dim=30), abs=2e-6)
    assert found == {"model": "vicinal-static-en", "similarity": "cosine"}


def test_files_line_by_line(run: Run, tmp_path: Path) -> None:
    first = [f"text number {i}" for i in range(1500)]
    second = [f"another text, number {i + 3}" for i in range(1500)]
    (tmp_path / "a.txt").write_text("\n".join(first))
    (tmp_path / "b.txt").write_text("\n".join(second) + "\n")
    result = run("similarity", "--files", tmp_path / "a.txt", tmp_path / "b.txt")
    scores = [float(line) for line in result.stdout.splitlines()]
    a, b = (SentenceTransformer().encode(texts, normalize_embeddings=True) for texts in (first, second))
    np.testing.assert_allclose(scores, (a * b).sum(1), atol=6e-5)
    found = json.loads(run("similarity", "--files", tmp_path / "a.txt", tmp_path / "b.txt", "--json").stdout)
    np.testing.assert_allclose(found["scores"], (a * b).sum(1), atol=2e-6)


@pytest.mark.parametrize("lines", [(1, 2), (2, 1), (1024, 1025), (1025, 1024), (0, 1), (1, 0)])
def test_files_of_different_length(run: Run, tmp_path: Path, lines: tuple[int, int]) -> None:
    for name, count in zip("ab", lines, strict=True):
        (tmp_path / name).write_text("text\n" * count)
    result = run("similarity", "--files", tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 1
    short, long = ("a", "b") if lines[0] < lines[1] else ("b", "a")
    assert result.stderr == f"error: {tmp_path}/{short} has only {min(lines)} lines, {tmp_path}/{long} has more\n"


def test_a_text_without_tokens_is_warned_of(run: Run) -> None:
    result = run("similarity", "", "a text")
    assert (result.exit_code, result.stdout) == (0, "0.0000\n")
    assert result.stderr.startswith("warning: the vector of the first text is all zero")
