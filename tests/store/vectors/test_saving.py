"""Tests of vicinal.store.vectors.saving."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.store.vectors.conftest import corpus
from tests.store.vectors.test_writing import spoil
from vicinal import SentenceTransformer, quantize_embeddings
from vicinal.errors import DamagedVectors, DimensionMismatch, SpaceMismatch, VectorsNotFound
from vicinal.store.vectors import saving
from vicinal.store.vectors.reading import load_vectors
from vicinal.store.vectors.saving import load_ranges, save_vectors
from vicinal.util import quantization_ranges

Load = Callable[..., SentenceTransformer]


@pytest.fixture
def model(static_model: Load) -> SentenceTransformer:
    return static_model()


@pytest.fixture
def vectors(model: SentenceTransformer) -> np.ndarray:
    return np.asarray(model.encode(corpus(150)))


def test_there_and_back(tmp_path: Path, model: SentenceTransformer, vectors: np.ndarray) -> None:
    path = tmp_path / "a.npy"
    save_vectors(path, vectors, model, prompt="query: ")
    found = load_vectors(path, model)
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, vectors, strict=True)
    np.testing.assert_array_equal(np.load(path), vectors, strict=True)
    beside = json.loads((tmp_path / "a.npy.json").read_text())
    assert beside["fingerprint"] == model.fingerprint
    assert (beside["model"], beside["prompt"], beside["dims"]) == ("model", "query: ", 13)


@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_quantized_vectors(tmp_path: Path, model: SentenceTransformer, vectors: np.ndarray, precision: Any) -> None:
    small = np.asarray(quantize_embeddings(vectors, precision))
    save_vectors(tmp_path / "a.npy", small, model)
    np.testing.assert_array_equal(load_vectors(tmp_path / "a.npy", model), small, strict=True)


def test_slices_and_lists(tmp_path: Path, model: SentenceTransformer, vectors: np.ndarray) -> None:
    for given in (vectors[::-2], np.asfortranarray(vectors), vectors.tolist(), vectors.astype(np.float16)):
        save_vectors(tmp_path / "a.npy", given, model)
        np.testing.assert_array_equal(load_vectors(tmp_path / "a.npy", model), np.asarray(given))


def test_another_model(tmp_path: Path, model: SentenceTransformer, vectors: np.ndarray, static_model: Load) -> None:
    save_vectors(tmp_path / "a.npy", vectors, model)
    other = static_model(truncate_dim=5)
    with pytest.raises(SpaceMismatch, match=rf"holds vectors of model \(space {model.fingerprint[:12]}, 13 dims\); "):
        load_vectors(tmp_path / "a.npy", other)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damage(tmp_path: Path, model: SentenceTransformer, vectors: np.ndarray, damage: str) -> None:
    save_vectors(tmp_path / "a.npy", vectors, model)
    spoil(tmp_path / "a.npy", damage)
    with pytest.raises(DamagedVectors, match=r"a\.npy .*not as it was written"):
        load_vectors(tmp_path / "a.npy", model)
    for text in ("", "[]", '{"vicinal vectors": 9}', '{"vicinal vectors": 1}'):
        (tmp_path / "a.npy.json").write_text(text)
        with pytest.raises(DamagedVectors, match=r"a\.npy\.json does not describe vectors, or is damaged"):
            load_vectors(tmp_path / "a.npy")


def test_a_matrix_of_unknown_origin(tmp_path: Path, model: SentenceTransformer, vectors: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", vectors)
    np.testing.assert_array_equal(load_vectors(tmp_path / "a.npy"), vectors)
    with pytest.raises(VectorsNotFound, match=r"nothing beside .*a\.npy says which model made it"):
        load_vectors(tmp_path / "a.npy", model)


def test_what_the_model_did_not_make(tmp_path: Path, model: SentenceTransformer, vectors: np.ndarray) -> None:
    for wrong in (vectors[:, :5], vectors[0], vectors[:, :2], vectors.astype(str)):
        with pytest.raises(DimensionMismatch, match="vectors must be rows of 13 numbers, as model makes them"):
            save_vectors(tmp_path / "a.npy", wrong, model)
    with pytest.raises(ValueError, match=r"must end in \.npy"):
        save_vectors(tmp_path / "a.bin", vectors, model)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_never_leaves_the_wrong_words_beside(
    tmp_path: Path, model: SentenceTransformer, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npy"
    save_vectors(path, vectors, model)

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(saving, "write_json", fail)
    with pytest.raises(OSError, match="no space left"):
        save_vectors(path, vectors[:7], model)
    np.testing.assert_array_equal(np.load(path), vectors[:7])
    with pytest.raises(VectorsNotFound):
        load_vectors(path, model)


def test_ranges_are_kept(tmp_path: Path, model: SentenceTransformer, vectors: np.ndarray) -> None:
    ranges = quantization_ranges(vectors)
    path = tmp_path / "a.npy"
    save_vectors(path, quantize_embeddings(vectors, "int8", ranges), model, ranges=ranges)
    np.testing.assert_array_equal(load_ranges(path), ranges, strict=True)
    beyond = vectors * 3  # clipped, never wrapped
    again = np.asarray(quantize_embeddings(beyond, "int8", load_ranges(path)))
    assert (again[beyond >= ranges[1]] == 127).all()
    assert (again[beyond <= ranges[0]] == -128).all()
    with pytest.raises(DimensionMismatch, match=r"ranges must be \(2, 13\), .* not of shape \(2, 5\)"):
        save_vectors(path, vectors, model, ranges=ranges[:, :5])
    save_vectors(path, vectors, model)
    with pytest.raises(VectorsNotFound, match="no ranges were kept beside"):
        load_ranges(path)
