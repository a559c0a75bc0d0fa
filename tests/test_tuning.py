"""Ways are measured, and the fastest faithful one is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests import tiny
from vicinal import SentenceTransformer, tuning
from vicinal.cli.app import app
from vicinal.errors import DamagedModel, ModelWarning
from vicinal.profiles import Candidate, write_profile
from vicinal.tuning import Measured


@given(st.integers(0, 99), st.integers(2, 30))
def test_a_ways_own_vectors_are_faithful(seed: int, count: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((count, 7)).astype(np.float32)
    mean, least, recall = tuning.faithfulness(vectors, vectors)
    assert (mean, least) == pytest.approx((1, 1))
    assert recall == 1
    mean, least, recall = tuning.faithfulness(-3 * vectors, vectors)
    assert (mean, least) == pytest.approx((-1, -1))
    assert recall == 1  # of each other they have the same neighbours


def test_recall_by_hand() -> None:
    angles = np.deg2rad(np.arange(0, 24 * 4, 4))
    reference = np.stack([np.cos(angles), np.sin(angles)], 1)
    found = reference.copy()
    found[[1, 23]] = found[[23, 1]]
    _, least, recall = tuning.faithfulness(found, reference)
    assert least == pytest.approx(np.cos(np.deg2rad(88)))
    near = [set(sorted(set(range(24)) - {i}, key=lambda j, i=i: (abs(j - i), j))[:10]) for i in range(24)]  # type: ignore[misc]
    places = [23 if i == 1 else 1 if i == 23 else i for i in range(24)]
    moved = [
        set(sorted(set(range(24)) - {i}, key=lambda j, i=i: (abs(places[j] - places[i]), j))[:10])  # type: ignore[misc]
        for i in range(24)
    ]
    assert recall == pytest.approx(np.mean([len(a & b) / 10 for a, b in zip(near, moved, strict=True)]), abs=0.02)


def measured(speed: float, recall: float, dtype: str = "int8") -> Measured:
    return Measured(Candidate("openvino", dtype, 1024), speed, 1.0, 100.0, 0.999, 0.99, recall)


def test_the_choice() -> None:
    exact, fast, loose = measured(10, 1.0), measured(20, 0.98), measured(30, 0.5)
    assert tuning.best([exact, fast, loose]) is fast
    assert tuning.best([exact, fast, loose], recall=0.99) is exact
    assert tuning.best([loose, measured(5, 0.6)], recall=0.9).recall_at_10 == 0.6


def test_measuring_and_loading_the_choice(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join(f"the tax law {i} red" for i in range(30)))
    arguments = ["tune", str(folder), "--texts", str(tmp_path / "texts.txt"), "--rounds", "1", "--json",
                 "-o", str(tmp_path / "profile.json"), "--recall", "0"]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["texts"] == 30
    by_way = {one["candidate"]["dtype"]: one for one in found["measured"]}
    assert by_way["float32"]["cosine_least"] == pytest.approx(1)
    assert by_way["float32"]["recall_at_10"] == 1
    assert all(one["texts_per_second"] > 0 and one["peak_mb"] > 10 for one in by_way.values())
    model = SentenceTransformer(folder, profile=tmp_path / "profile.json")
    assert (model.backend, model.dtype) == (found["chosen"]["backend"], found["chosen"]["dtype"])
    assert model._budget == found["chosen"]["batch_tokens"]


def test_profiles_that_are_none(tmp_path: Path) -> None:
    folder, path = tiny.write_bert(tmp_path / "model"), tmp_path / "profile.json"
    write_profile(path, Candidate("openvino", "int8", 512), {})
    with pytest.raises(ValueError, match=r"dtype and profile= were both given; the profile states them"):
        SentenceTransformer(folder, profile=path, dtype="float32")
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "processor": "another"}))
    with pytest.warns(ModelWarning, match="was measured on another; this is "):
        assert SentenceTransformer(folder, profile=path).dtype == "int8"
    for text in ("{", "[]", json.dumps({**value, "candidate": {"backend": "openvino"}})):
        path.write_text(text)
        with pytest.raises(DamagedModel, match=r"profile.json is no profile .*make one with `vicinal tune`"):
            SentenceTransformer(folder, profile=path)
    with pytest.raises(ValueError, match="at least two different texts"):
        tuning.tune(str(folder), ["a", "a"], [("openvino", "float32")])


def test_a_model_that_no_way_runs(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("red\nlaw\n")
    result = CliRunner().invoke(app, ["tune", str(tmp_path / "none"), "--texts", str(tmp_path / "texts.txt")])
    assert result.exit_code == 1
    assert "none" in result.stderr
    assert "there is no such folder" in result.stderr
