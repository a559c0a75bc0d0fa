"""A model that does not compute is not loaded; one in place of another is told by its golden vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests import tiny
from vicinal import SentenceTransformer, selftest
from vicinal.cli.app import app
from vicinal.engine import Engine
from vicinal.errors import DamagedModel

TEXTS = ["red", "the law of tax", "green apple " * 9, "", "a-b", "tax " * 3, "law " * 16]


@pytest.mark.parametrize("write", [tiny.write_bert, tiny.write_static])
def test_damaged_weights(tmp_path: Path, write: Any) -> None:
    from safetensors.numpy import load_file, save_file

    folder = write(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "word_embeddings" in name or name == "embedding.weight")
    whole = tensors[name].copy()
    tensors[name][:] = np.nan
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DamagedModel, match="fails its self-test: a vector is not finite"):
        SentenceTransformer(folder)
    tensors[name][:] = whole[7]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DamagedModel, match="two different tokens have the same vector"):
        SentenceTransformer(folder)
    assert SentenceTransformer(folder, self_test=False).encode("red").shape


def test_a_computation_that_does_not_recur(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, calls = Engine.compute, iter(range(99))

    def drifting(self: Engine, *args: Any) -> Any:
        return {name: array + 1e-6 * next(calls) for name, array in compute(self, *args).items()}

    monkeypatch.setattr(Engine, "compute", drifting)
    with pytest.raises(DamagedModel, match="gives other numbers the second time"):
        SentenceTransformer(tiny.write_bert(tmp_path / "m"))


def test_golden_vectors(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "m")
    path = selftest.write_golden(SentenceTransformer(folder, dtype="float32"))
    assert path == folder / "golden.json"
    for dtype in ("float32", "auto", "int8"):
        SentenceTransformer(folder, dtype=dtype)
    tiny.write_bert(folder, pooling={**tiny.POOLING, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True})
    with pytest.raises(DamagedModel, match=r"a vector whose cosine with its golden one is .*another model, tokenizer"):
        SentenceTransformer(folder, dtype="float32")
    tiny.write_bert(folder, tensors=tiny.bert_tensors(seed=1))
    with pytest.raises(DamagedModel, match="golden one"):
        SentenceTransformer(folder)
    assert SentenceTransformer(folder, self_test=False).encode("red").shape
    path.write_text(json.dumps({"texts": ["a"], "vectors": [[1.0], [2.0]]}))
    with pytest.raises(DamagedModel, match=r"golden.json holds no golden vectors"):
        SentenceTransformer(folder)
    path.write_text(json.dumps({"texts": ["a"], "vectors": [[1.0]]}))
    with pytest.raises(DamagedModel, match="gives vectors of 22 dimensions; its golden ones have 1"):
        SentenceTransformer(folder)


def test_golden_vectors_are_computed_whole_and_anew(tmp_path: Path) -> None:
    """Whatever of them is kept, in whatever dtype, and whatever a cache has."""
    folder = tiny.write_bert(tmp_path / "m")
    cache = tmp_path / "cache.db"
    wanted = SentenceTransformer(folder, dtype="float32", truncate_dim=8, cache=str(cache))
    assert len(json.loads(selftest.write_golden(wanted).read_text())["vectors"][0]) == tiny.WIDTH
    assert wanted.cache is not None
    assert wanted.cache.stats().misses == 0
    SentenceTransformer(folder, truncate_dim=8)
    SentenceTransformer(folder, backend="torch", dtype="float16")
    stored = json.loads((folder / "golden.json").read_text())
    short = {**stored, "vectors": [vector[:8] for vector in stored["vectors"]]}
    (folder / "golden.json").write_text(json.dumps(short))  # as a model that keeps 8 dimensions wrote them once
    SentenceTransformer(folder, truncate_dim=8)
    wanted.encode(stored["texts"], prompt="", truncation="ignore")  # now the cache has them
    (folder / "golden.json").write_text(json.dumps({**stored, "vectors": [[1.0] * tiny.WIDTH] * len(stored["texts"])}))
    with pytest.raises(DamagedModel, match=r"below 0\.99999"):
        SentenceTransformer(folder, dtype="float32", cache=str(cache))


def test_golden_vectors_are_not_made_anyhow(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "m")
    with pytest.raises(ValueError, match="golden vectors are made at float32, not int8"):
        selftest.write_golden(SentenceTransformer(folder, dtype="int8"))
    with pytest.raises(ValueError, match="is from bundled: save it into a folder of yours first"):
        selftest.write_golden(SentenceTransformer())


def test_the_command(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "m")
    result = CliRunner().invoke(app, ["golden", str(folder)])
    assert result.exit_code == 0
    assert "golden.json" in result.stderr
    assert (folder / "golden.json").is_file()


@pytest.mark.parametrize("dtype", ["float32", "auto", "int8"])
def test_deterministic_vectors_do_not_depend_on_their_neighbours(minilm_folder: Path, dtype: str) -> None:
    """To the last bit, in any order and company."""
    model = SentenceTransformer(minilm_folder, dtype=dtype)
    rng = np.random.default_rng(0)
    words = ["red", "apple", "interest", "rates", "rose", "law", "the", "of", "night"]
    texts = list(dict.fromkeys(" ".join(rng.choice(words, n)) for n in rng.integers(1, 60, 60)))
    wanted = {text: model.encode(text, deterministic=True) for text in texts}
    for _ in range(3):
        order = [texts[i] for i in rng.permutation(len(texts))[: rng.integers(2, len(texts))]]
        found = model.encode(order, deterministic=True, normalize_embeddings=False)
        for text, vector in zip(order, found, strict=True):
            np.testing.assert_array_equal(vector, wanted[text])


def test_deterministic_vectors_are_not_a_caches(tmp_path: Path) -> None:
    """It has those of other batches."""
    folder = tiny.write_bert(tmp_path / "m")
    texts = ["red apple", "tax law of the apple"]
    wanted = SentenceTransformer(folder, dtype="float32").encode(texts, deterministic=True)
    model = SentenceTransformer(folder, dtype="float32", cache=str(tmp_path / "cache.db"))
    model.encode(texts)
    before = model.cache.stats() if model.cache is not None else None
    np.testing.assert_array_equal(model.encode(texts, deterministic=True), wanted)
    assert model.cache is not None
    assert model.cache.stats() == before  # nobody asked
