"""all-MiniLM-L6-v2 against sentence-transformers: its own vectors of 335 awkward texts, stored by tests/reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vicinal
from vicinal.errors import InvalidInput, Unavailable

pytestmark = pytest.mark.filterwarnings("ignore::vicinal.errors.VicinalWarning")

SOME = slice(None, None, 14)
CALIBRATION, QUANTIZED = 320, slice(0, 320, 8)
CLOSE = 2e-5  # the most that one number may differ at float32


@pytest.fixture(scope="module")
def peer(fixtures: Path) -> dict[str, Any]:
    """The stored arrays by name, and `info`: what they were made with."""
    with np.load(fixtures / "minilm.npz") as file:
        arrays = {name: file[name] for name in file.files}
    return arrays | {"info": json.loads(str(arrays["info"]))}


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of every row of `a` with the same row of `b`, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def split(array: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Rows that were stored under each other, as one array a text."""
    return np.split(array, np.cumsum(counts.astype(np.int64))[:-1])


def explain(rows: list[dict[str, Any]], errors: np.ndarray) -> str:
    """The ids of the three texts that are furthest off."""
    return ", ".join(f"{rows[i]['id']}: {errors[i]:.2e}" for i in np.argsort(-errors)[:3])


def test_float32_vectors(minilm: Any, reference_rows: list[dict[str, Any]], peer: dict[str, Any]) -> None:
    vectors = minilm.encode([row["text"] for row in reference_rows])
    assert vectors.dtype == np.float32
    assert vectors.shape == peer["vectors"].shape
    differences = np.abs(vectors - peer["vectors"]).max(1)
    assert differences.max() <= CLOSE, explain(reference_rows, differences)
    losses = 1 - cosines(vectors, peer["vectors"])
    assert losses.max() <= 1e-5, explain(reference_rows, losses)


def test_token_ids(minilm: Any, reference_rows: list[dict[str, Any]], peer: dict[str, Any]) -> None:
    wanted = split(peer["ids"], peer["id_counts"])
    texts = [row["text"] for row in reference_rows]
    for row, features, ids in zip(reference_rows, minilm.encode(texts, output_value=None), wanted, strict=True):
        mask = np.asarray(features["attention_mask"]).astype(bool)
        assert np.asarray(features["input_ids"])[mask].tolist() == ids.tolist(), row["id"]


@pytest.mark.parametrize(("dtype", "mean", "least"), [("bfloat16", 0.9999, 0.9998), ("int8", 0.999, 0.995)])
def test_fewer_bits(
    dtype: str,
    mean: float,
    least: float,
    minilm_folder: Path,
    reference_rows: list[dict[str, Any]],
    peer: dict[str, Any],
) -> None:
    try:
        model = vicinal.SentenceTransformer(str(minilm_folder), dtype=dtype)
    except Unavailable as reason:
        pytest.skip(f"{dtype} is not to be had here: {reason}")
    found = cosines(model.encode([row["text"] for row in reference_rows]), peer["vectors"])
    assert found.mean() >= mean
    assert found.min() >= least, explain(reference_rows, 1 - found)


def test_one_by_one(minilm: Any, reference_texts: list[str], peer: dict[str, Any]) -> None:
    for text, vector in zip(reference_texts[SOME], peer["vectors"][SOME], strict=True):
        single = minilm.encode(text)
        assert single.shape == (384,)
        assert np.abs(single - vector).max() <= CLOSE, repr(text[:60])


def test_dicts_of_text(minilm: Any, reference_texts: list[str], peer: dict[str, Any]) -> None:
    vectors = minilm.encode([{"text": text} for text in reference_texts[SOME]])
    assert np.abs(vectors - peer["vectors"][SOME]).max() <= CLOSE


def test_pairs(minilm: Any, peer: dict[str, Any]) -> None:
    pairs = [tuple(pair) for pair in peer["info"]["pairs"]]
    assert np.abs(minilm.encode(pairs) - peer["pair_vectors"]).max() <= CLOSE


def test_prompt(minilm: Any, reference_texts: list[str], peer: dict[str, Any]) -> None:
    vectors = minilm.encode(reference_texts[SOME], prompt=peer["info"]["prompt"])
    assert np.abs(vectors - peer["prompted"]).max() <= CLOSE
    assert np.abs(vectors - peer["vectors"][SOME]).max() > 0.05  # the prompt does something


@pytest.mark.parametrize(("normalize", "wanted"), [(False, "raw_64"), (True, "truncated_64")])
def test_fewer_dimensions(
    normalize: bool, wanted: str, minilm: Any, reference_texts: list[str], peer: dict[str, Any]
) -> None:
    vectors = minilm.encode(reference_texts[SOME], truncate_dim=64, normalize_embeddings=normalize)
    assert vectors.shape == peer[wanted].shape
    assert np.abs(vectors - peer[wanted]).max() <= 4 * CLOSE  # normalising lengthens 64 of 384 dimensions


def test_short_length(minilm: Any, reference_texts: list[str], peer: dict[str, Any]) -> None:
    before = minilm.max_seq_length
    minilm.max_seq_length = peer["info"]["short_length"]
    try:
        vectors = minilm.encode(reference_texts[SOME])
    finally:
        minilm.max_seq_length = before
    assert before == 256
    assert np.abs(vectors - peer["short"]).max() <= CLOSE


def test_token_embeddings(minilm: Any, peer: dict[str, Any]) -> None:
    wanted = split(peer["token_embeddings"], peer["token_counts"])
    found = minilm.encode(peer["info"]["with_tokens"], output_value="token_embeddings")
    assert [tuple(np.shape(states)) for states in found] == [states.shape for states in wanted]
    scale = np.abs(peer["token_embeddings"]).max()
    for states, expected in zip(found, wanted, strict=True):
        assert np.abs(np.asarray(states) - expected).max() <= CLOSE * scale


def test_all_features(minilm: Any, peer: dict[str, Any]) -> None:
    features = minilm.encode(peer["info"]["with_tokens"][2], output_value=None)
    shapes = {key: list(np.shape(value)) for key, value in features.items() if not isinstance(value, str)}
    wanted = {key: value for key, value in peer["info"]["features"].items() if not isinstance(value, str)}
    assert {key: shapes.get(key) for key in wanted} == wanted


@pytest.mark.parametrize(("precision", "shift"), [("int8", 0), ("uint8", 128)])
def test_quantized(precision: str, shift: int, minilm: Any, reference_texts: list[str], peer: dict[str, Any]) -> None:
    codes = minilm.encode(reference_texts[:CALIBRATION], precision=precision)
    assert codes.dtype == np.dtype(precision)
    off = np.abs(codes[QUANTIZED].astype(np.int16) - shift - peer["int8"])
    assert off.max() <= 1
    assert (off > 0).mean() < 0.005  # a number next to a bucket's edge may fall into the next bucket


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_bits(precision: str, minilm: Any, reference_texts: list[str], peer: dict[str, Any]) -> None:
    codes = minilm.encode(reference_texts[SOME], precision=precision)
    assert codes.dtype == peer[precision].dtype
    differ = np.unpackbits(codes.view(np.uint8) ^ peer[precision].view(np.uint8), axis=1).astype(bool)
    assert codes.shape == (24, 48)
    assert np.abs(peer["vectors"][SOME])[differ].max(initial=0) <= CLOSE  # only where the sign is not sure


def test_similarity(minilm: Any, peer: dict[str, Any]) -> None:
    vectors = peer["vectors"][SOME]
    assert np.abs(np.asarray(minilm.similarity(vectors, vectors)) - peer["similarity"]).max() <= 1e-6


@pytest.mark.parametrize("text", ["a\ud800b", "\udfff"])
def test_lone_surrogates_are_refused(text: str, minilm: Any) -> None:
    """The peer raises TypeError too, from its tokenizer and without saying which text."""
    with pytest.raises(InvalidInput, match="surrogate") as caught:
        minilm.encode(["fine", text])
    assert isinstance(caught.value, TypeError)
    assert "1" in str(caught.value)  # the row


def test_nothing_is_fetched(minilm_folder: Path, no_network: None) -> None:
    model = vicinal.SentenceTransformer(str(minilm_folder), dtype="float32")
    assert model.encode(["no network needed"]).shape == (1, 384)
