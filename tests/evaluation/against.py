"""Runs an evaluator of sentence-transformers and ours on the same model, and compares all that comes out."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest


def same(ours: Any, theirs: Any, models: tuple[Any, Any], folder: Path, tolerance: float = 1e-6, **options: Any) -> Any:
    """Metrics, names, files, and what the card is told; the metrics are returned."""
    mine, other = models
    results = []
    for name, evaluator, model in (("ours", ours, mine), ("theirs", theirs, other)):
        first = evaluator(model, str(folder / name), 1, 20, **options)
        again = evaluator(model, str(folder / name), 1, 40, **options)
        assert first == pytest.approx(again, nan_ok=True)
        results.append(again)
    got, wanted = results
    assert list(got) == list(wanted)
    assert got == pytest.approx(wanted, rel=1e-6, abs=tolerance, nan_ok=True)
    assert all(type(value) is float for value in got.values())
    assert ours.primary_metric == theirs.primary_metric
    assert getattr(theirs, "greater_is_better", True) is ours.greater_is_better is True
    assert ours.description == theirs.description
    assert ours.get_config_dict() == theirs.get_config_dict()
    same_files(folder / "ours", folder / "theirs", tolerance)
    assert len(mine.model_card_data.told) == len(other.model_card_data.told)
    for (metrics, *when), (expected, *then) in zip(mine.model_card_data.told, other.model_card_data.told, strict=True):
        assert when == then
        assert list(metrics) == list(expected)
        for key, value in metrics.items():
            wish = expected[key]
            close = wish if isinstance(wish, str) else pytest.approx(wish, rel=1e-6, abs=tolerance, nan_ok=True)
            assert value == close
    return got


def same_files(ours: Path, theirs: Path, tolerance: float) -> None:
    """The same names, headers and rows, number by number."""
    names = sorted(path.name for path in theirs.iterdir())
    assert sorted(path.name for path in ours.iterdir()) == names
    for name in names:
        if name.endswith(".csv"):
            (header, *rows), (wanted, *expected) = (_rows(folder / name) for folder in (ours, theirs))
            assert header == wanted
            assert len(rows) == len(expected)
            for row, other in zip(rows, expected, strict=True):
                assert [float(cell) for cell in row] == pytest.approx(
                    [_number(cell) for cell in other], rel=1e-6, abs=tolerance
                )


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def _number(cell: str) -> float:
    return float(re.sub(r"^np\.float\d+\((.*)\)$", r"\1", cell))
