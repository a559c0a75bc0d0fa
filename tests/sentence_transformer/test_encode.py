"""The vectors that `encode` and its kin give: forms of inputs and outputs, arrays to fill."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from tests import tiny
from tests.sentence_transformer.texts import TEXTS, assert_near, sentences
from vicinal import SentenceTransformer, quantize_embeddings
from vicinal.errors import (
    DimensionMismatch,
    MissingExtra,
)

# ---- forms of inputs and outputs ------------------------------------------------------------------------------------


def test_the_vectors_of_a_static_model_are_means(static: SentenceTransformer, static_folder: Path) -> None:
    table = load_file(static_folder / "model.safetensors")["embedding.weight"]
    ids = [tiny.VOCABULARY.index(word) for word in ("red", "apple", "red")]
    assert_near(static.encode("Red apple RED"), table[ids].mean(0))


@pytest.mark.parametrize(
    "given",
    [
        list(TEXTS),
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object),
        pd.Series(TEXTS, index=range(len(TEXTS), 0, -1)),
        (text for text in TEXTS),
        [{"text": text} for text in TEXTS],
    ],
    ids=lambda given: type(given).__name__,
)
def test_forms_of_inputs(given: Any, shared: SentenceTransformer, alone: np.ndarray) -> None:
    found = shared.encode(given)
    assert found.dtype == np.float32
    assert_near(found, alone)


def test_one_text(shared: SentenceTransformer, alone: np.ndarray) -> None:
    text = TEXTS[-2]
    for given in (text, np.str_(text), {"text": text}):
        found = shared.encode(given)
        assert found.shape == (tiny.WIDTH,)
        assert_near(found, alone[-2])
    assert shared.encode([text]).shape == (1, tiny.WIDTH)
    assert_near(shared.encode(sentences=[text]), shared.encode(inputs=[text]))


def test_no_texts(shared: SentenceTransformer) -> None:
    for nothing in ([], (), iter(()), np.array([], dtype=str), pd.Series([], dtype=str)):
        assert shared.encode(nothing).shape == (0, tiny.WIDTH)
    assert shared.encode([], truncate_dim=5).shape == (0, 5)
    assert shared.encode([], convert_to_numpy=False) == []
    assert shared.encode([], output_value="token_embeddings") == []
    with pytest.raises(TypeError, match="encode\\(\\) needs texts"):
        shared.encode()


def test_pairs_are_tokenized_as_pairs(shared: SentenceTransformer) -> None:
    pairs = [("red", "apple tax"), ("the law", ""), ("", "x")]
    found = shared.encode(pairs)
    assert_near(found, np.stack([shared.encode([pair])[0] for pair in pairs]))
    assert np.abs(found[0] - shared.encode("red apple tax")).max() > 0.01
    assert np.abs(found[0] - shared.encode([("red apple", "tax")])[0]).max() > 0.01
    ids = shared.tokenize(pairs)
    assert ids["token_type_ids"][0].tolist() == [0, 0, 0, 1, 1, 1]


def test_pairs_of_a_static_model(static: SentenceTransformer) -> None:
    assert_near(static.encode([("red", "apple tax")]), static.encode(["red apple tax"]))


@pytest.mark.parametrize("batching", [{}, {"batch_size": 1}, {"batch_size": 3}, {"batch_tokens": 1},
                                      {"batch_tokens": 40}, {"batch_tokens": 10**6}])  # fmt: skip
def test_batches_change_nothing(batching: dict[str, int], shared: SentenceTransformer, alone: np.ndarray) -> None:
    assert_near(shared.encode(TEXTS, **batching), alone)


@pytest.mark.parametrize("n", [255, 256, 257, 1279, 1280, 1281, 3000])
def test_order_across_windows(n: int, static: SentenceTransformer) -> None:
    texts = sentences(n)
    expected = dict(zip(texts, static.encode(texts), strict=True))
    turned = texts[::-1]
    assert_near(static.encode(turned), np.stack([expected[text] for text in turned]), 0)
    assert_near(static.encode(texts[-1]), expected[texts[-1]])
    assert_near(static.encode(texts[n // 2]), expected[texts[n // 2]])


def test_equal_texts_are_computed_once(model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    run = model._engine.run

    def counting(texts: Iterator[Any], job: Any) -> Any:
        drawn = list(texts)
        counted.append(len(drawn))
        return run(iter(drawn), job)

    monkeypatch.setattr(model._engine, "run", counting)
    texts = ["red", "tax", "red", "apple", "tax", "red"]
    found = model.encode(texts)
    assert counted == [3]
    assert_near(found, model.encode(["red", "tax", "apple"])[[0, 1, 0, 2, 1, 0]], 0)
    found[0] += 1  # rows are the caller's own
    assert np.abs(found[2] - found[0]).min() > 0.5
    assert model.encode([("red", "tax"), ("tax", "red"), ("red", "tax")]).shape == (3, tiny.WIDTH)
    assert counted[-1] == 2


def test_the_callers_texts_are_left_alone(shared: SentenceTransformer) -> None:
    given = ["red", "tax", "red"]
    shared.encode(given, prompt="query: ")
    assert given == ["red", "tax", "red"]


def test_a_list_of_arrays(shared: SentenceTransformer, alone: np.ndarray) -> None:
    found = shared.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(found, list)
    assert_near(np.stack(found), alone)


def test_tensors_without_torch(shared: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"convert_to_tensor=True needs torch, which is not installed: pip install"):
        shared.encode("red", convert_to_tensor=True)


def test_tensors(shared: SentenceTransformer, alone: np.ndarray) -> None:
    torch = pytest.importorskip("torch", reason="tensors need torch")
    found = shared.encode(TEXTS, convert_to_tensor=True, convert_to_numpy=True)
    assert isinstance(found, torch.Tensor)
    assert_near(found.numpy(), alone)
    assert shared.encode("red", convert_to_tensor=True).shape == (tiny.WIDTH,)


def test_truncate_dim_comes_before_normalising(static: SentenceTransformer) -> None:
    whole = static.encode(TEXTS[:9])
    assert_near(static.encode(TEXTS[:9], truncate_dim=5), whole[:, :5])
    cut = whole[:, :5] / np.linalg.norm(whole[:, :5].astype(float), axis=1, keepdims=True)
    assert_near(static.encode(TEXTS[:9], truncate_dim=5, normalize_embeddings=True), cut)
    assert_near(static.encode(TEXTS[:9], truncate_dim=500), whole)


@pytest.mark.filterwarnings("ignore::vicinal.errors.VicinalWarning")  # few texts to take ranges from
@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_precisions(precision: Any, shared: SentenceTransformer) -> None:
    vectors = shared.encode(TEXTS, truncate_dim=16)
    found = shared.encode(TEXTS, truncate_dim=16, precision=precision)
    np.testing.assert_array_equal(found, quantize_embeddings(vectors, precision=precision))
    assert found.shape == (len(TEXTS), 2 if "binary" in precision else 16)


def test_precision_of_one_text(shared: SentenceTransformer) -> None:
    assert shared.encode("red", precision="ubinary", truncate_dim=16).shape == (2,)
    with pytest.raises(ValueError, match="precision='int8' scales by the range of the vectors, and one text has none"):
        shared.encode("red", precision="int8")
    with pytest.raises(ValueError, match="'int4' is not a precision"):
        shared.encode("red", precision="int4")


def test_token_embeddings(shared: SentenceTransformer) -> None:
    texts = ["red apple tax", "", "law"]
    found = shared.encode(texts, output_value="token_embeddings")
    assert [states.shape for states in found] == [(5, tiny.WIDTH), (2, tiny.WIDTH), (3, tiny.WIDTH)]
    for text, states in zip(texts, found, strict=True):
        mean = states.astype(float).mean(0)
        assert_near(shared.encode(text), mean / np.linalg.norm(mean))
        assert_near(shared.encode(text, output_value="token_embeddings"), states)


def test_everything(shared: SentenceTransformer) -> None:
    texts = ["red apple tax", "law"]
    found = shared.encode(texts, output_value=None)
    wanted = shared.tokenize(texts)
    for i, row in enumerate(found):
        n = int(wanted["attention_mask"][i].sum())
        assert set(row) >= {"input_ids", "attention_mask", "token_embeddings", "sentence_embedding"}
        assert row["input_ids"].tolist() == wanted["input_ids"][i, :n].tolist()
        assert row["attention_mask"].tolist() == [1] * n
        assert_near(row["sentence_embedding"], shared.encode(texts[i]))
        assert_near(row["token_embeddings"], shared.encode(texts[i], output_value="token_embeddings"))
    assert_near(shared.encode("law", output_value=None)["sentence_embedding"], found[1]["sentence_embedding"])
    with pytest.raises(ValueError, match="output_value must be 'sentence_embedding', 'token_embeddings' or None"):
        shared.encode("law", output_value="logits")


# ---- out ------------------------------------------------------------------------------------------------------------


def test_out_is_filled_and_returned(shared: SentenceTransformer, alone: np.ndarray, tmp_path: Path) -> None:
    plain = np.full((len(TEXTS), tiny.WIDTH), np.nan, np.float32)
    mapped = np.memmap(tmp_path / "v", np.float32, "w+", shape=plain.shape)
    part = np.full((len(TEXTS) + 4, tiny.WIDTH + 3), np.nan, np.float32)[2:-2, 1:-2]
    for out in (plain, mapped, part):
        assert shared.encode(TEXTS, out=out) is out
        assert_near(out, alone)
    mapped.flush()
    assert_near(np.fromfile(tmp_path / "v", np.float32).reshape(plain.shape), alone)
    narrow = np.empty((len(TEXTS), 5), np.float32)
    assert shared.encode(TEXTS, out=narrow, truncate_dim=5) is narrow
    one = np.empty((1, tiny.WIDTH), np.float32)
    assert_near(shared.encode("red", out=one), one[0])


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        (np.empty((2, 22)), TypeError, "out must be a float32 array, not float64"),
        ([[0.0] * 22] * 2, TypeError, "out must be a float32 array, not list"),
        (np.empty((3, 22), "f4"), DimensionMismatch, r"out has shape \(3, 22\), .* these texts have \(2, 22\)"),
        (np.empty((2, 21), "f4"), DimensionMismatch, r"out has shape \(2, 21\)"),
        (np.empty(44, "f4"), DimensionMismatch, r"out has shape \(44,\)"),
        (np.broadcast_to(np.float32(0), (2, 22)), ValueError, "out is read-only: open the memory map with"),
    ],
)
def test_out_that_does_not_fit(out: Any, error: type[Exception], text: str, shared: SentenceTransformer) -> None:
    with pytest.raises(error, match=text):
        shared.encode(["red", "tax"], out=out)
