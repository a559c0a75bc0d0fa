"""Prompts on tiny random models, named, by default, excluded from pooling, against sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::vicinal.errors.VicinalWarning")

TINY = Path(__file__).parent.parent / "fixtures" / "tiny"
DATA = json.loads((TINY / "cases.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in DATA["cases"] if case["group"] == "prompt"}
CALLS = [(name, number) for name, case in CASES.items() for number in range(len(case["calls"]))]
CLOSE = 3e-5  # the most that one number may differ, of the largest


@pytest.mark.parametrize("backend", ["auto", "numpy"])
@pytest.mark.parametrize(("name", "number"), CALLS)
def test_vectors(name: str, number: int, backend: str, tiny_model: Any, tiny_expected: dict[str, np.ndarray]) -> None:
    method, inputs, options = CASES[name]["calls"][number]
    given = [tuple(item) if isinstance(item, list) else item for item in DATA["inputs"][inputs]]
    values, wanted = (
        getattr(tiny_model(CASES[name], backend), method)(given, **options),
        tiny_expected[f"{name}/{number}"],
    )
    assert values.shape == wanted.shape
    error = np.abs(values - wanted).max(1) / np.abs(wanted).max()
    assert error.max() <= CLOSE, f"{method}({inputs}, {options}): rows {np.flatnonzero(error > CLOSE).tolist()}"


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("prompt-excluded")])
def test_an_excluded_prompt_still_counts_in_attention(name: str, tiny_expected: dict[str, np.ndarray]) -> None:
    """The stored vectors can tell: with a prompt they differ from those without."""
    plain, prompted = tiny_expected[f"{name}/0"], tiny_expected[f"{name}/2"]
    assert np.abs(plain - prompted).max() > 0.01
    assert np.array_equal(plain, tiny_expected[f"{name}/1"])


def test_an_unknown_prompt_name_is_refused(tiny_model: Any) -> None:
    with pytest.raises(ValueError, match=r"nope.*king|king.*nope"):
        tiny_model(CASES["prompt-named"], "auto").encode("the king", prompt_name="nope")
