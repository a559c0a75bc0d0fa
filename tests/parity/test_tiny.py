"""Tiny random models in every folder layout, against the vectors that sentence-transformers gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::vicinal.errors.VicinalWarning")

TINY = Path(__file__).parent.parent / "fixtures" / "tiny"
DATA = json.loads((TINY / "cases.json").read_text(encoding="utf-8"))
CASES = [case for case in DATA["cases"] if case["group"] == "folder"]
BACKENDS = ["auto", "numpy"]
CLOSE = 3e-5  # the most that one number may differ, of the largest

each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def run(model: Any, call: list[Any]) -> np.ndarray:
    """One call's vectors; matrices of token states are put under each other."""
    method, inputs, options = call
    given = [tuple(item) if isinstance(item, list) else item for item in DATA["inputs"][inputs]]
    values = getattr(model, method)(given, **options)
    return np.concatenate([np.asarray(value) for value in values]) if isinstance(values, list) else values


def assert_close(values: np.ndarray, wanted: np.ndarray, tolerance: float = CLOSE) -> None:
    assert values.shape == wanted.shape
    assert np.isfinite(values).all()
    error = np.abs(values - wanted).max(1) / np.abs(wanted).max()
    assert error.max() <= tolerance, f"rows {np.flatnonzero(error > tolerance).tolist()} are off, by {error.max():.1e}"


@each_backend
@each_case
def test_vectors(case: dict[str, Any], backend: str, tiny_model: Any, tiny_expected: dict[str, np.ndarray]) -> None:
    model = tiny_model(case, backend)
    for number, call in enumerate(case["calls"]):
        assert_close(run(model, call), tiny_expected[f"{case['name']}/{number}"])


@each_case
def test_one_by_one(case: dict[str, Any], tiny_model: Any, tiny_expected: dict[str, np.ndarray]) -> None:
    method, inputs, options = case["calls"][0]
    model = tiny_model(case, "auto")
    singles = np.stack([getattr(model, method)(item, **options) for item in DATA["inputs"][inputs]])
    assert_close(singles, run(model, case["calls"][0]), 1e-5)
    assert_close(singles, tiny_expected[f"{case['name']}/0"])


@each_case
def test_what_the_model_says_of_itself(case: dict[str, Any], tiny_model: Any) -> None:
    model = tiny_model(case, "auto")
    assert model.get_embedding_dimension() == case["dimension"]
    if "max_seq_length" in case:
        assert model.max_seq_length == case["max_seq_length"]


@pytest.mark.parametrize("case", [c for c in CASES if "max_seq_length" in c], ids=lambda case: case["name"])
def test_token_ids(case: dict[str, Any], tiny_model: Any, tiny_expected: dict[str, np.ndarray]) -> None:
    features = tiny_model(case, "auto").encode(DATA["inputs"]["texts"], output_value=None)
    for text, item, wanted in zip(DATA["inputs"]["texts"], features, tiny_expected[f"{case['name']}/ids"], strict=True):
        ids = np.asarray(item["input_ids"])[np.asarray(item["attention_mask"]).astype(bool)]
        assert ids.tolist() == wanted[wanted != 255].tolist(), repr(text[:40])


def test_the_cases_tell_modes_apart(tiny_expected: dict[str, np.ndarray]) -> None:
    """No two poolings, heads or tokenizers that mean different things have the same vectors."""
    groups = [
        ["config-defaults", "cut-on-the-left"],
        [f"pooling-{mode}" for mode in ("mean", "cls", "max", "weightedmean", "lasttoken", "mean_sqrt_len_tokens")],
        ["dense-tanh", "dense-no-bias", "dense-relu", "dense-gelu", "dense-residual-projected"],
        ["as-saved", "normalize", "layer-norm"],
        ["config-defaults", "cased", "keeps-accents", "cased-strips-accents", "chinese-as-words", "added-token"],
        ["config-defaults", "vocabulary-length", "length-from-tokenizer", "float16", "bfloat16"],
    ]
    for names in groups:
        assert len({tiny_expected[f"{name}/0"].tobytes() for name in names}) == len(names)
