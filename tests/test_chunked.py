"""Long documents: each way against what it says it does, computed by hand from short texts and token states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.chunked import ChunkedVectors
from vicinal.errors import InvalidInput, TextTooLong, UnsupportedModel, ZeroVectorWarning

LONG = "red apple the law. green tax the red. apple apple law tax the. the green green tax."
DOCUMENTS = ["red apple", LONG, "", "# law\n\nthe red tax. the green apple. the law of the red apple is green."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    folder = tmp_path_factory.mktemp("chunked") / "model"
    settings = {"prompts": {"query": "query: ", "document": "the "}}
    return SentenceTransformer(tiny.write_bert(folder, settings=settings), dtype="float32")


def unit(vector: NDArray[Any]) -> NDArray[Any]:
    return vector / np.linalg.norm(vector)


def test_chunks_are_encoded_as_texts_of_their_own(model: SentenceTransformer) -> None:
    found = model.encode_document(DOCUMENTS, long="chunks")
    assert isinstance(found, ChunkedVectors)
    assert found.vectors.dtype == np.float32
    assert len(found) == len(found.vectors) == len(found.document) == len(found.span) > len(DOCUMENTS)
    assert sorted(set(found.document.tolist())) == [0, 1, 2, 3]
    assert found.span[0].tolist() == [0, len(DOCUMENTS[0])]
    for vector, document, (start, stop) in zip(found.vectors, found.document, found.span, strict=True):
        if document == 1:  # no headings above
            np.testing.assert_allclose(vector, model.encode_document(LONG[start:stop]), atol=2e-6)
            assert len(model.tokenize([LONG[start:stop]], prompt="the ")["input_ids"][0]) <= 17


def test_headings_are_read_with_a_chunk(model: SentenceTransformer) -> None:
    found = model.encode_document(DOCUMENTS[3:], long="chunks", chunk_tokens=17)
    start, stop = found.span[-1]
    assert start > 0
    expected = model.encode_document(f"law\n\n{DOCUMENTS[3][start:stop]}")
    np.testing.assert_allclose(found.vectors[-1], expected, atol=2e-6)


def test_a_short_text_stays_as_it_is(model: SentenceTransformer) -> None:
    expected = model.encode_document("red apple")
    for long in ("chunk-mean", "chunks", "late"):
        found = model.encode_document("red apple", long=long)
        vector = found.vectors[0] if isinstance(found, ChunkedVectors) else found
        np.testing.assert_allclose(vector, expected, atol=2e-6)


def test_the_mean_is_weighted_by_tokens(model: SentenceTransformer) -> None:
    chunks = model.encode_document(LONG, long="chunks")
    spans = [LONG[start:stop] for start, stop in chunks.span]
    tokens = [len(model.tokenize([part], prompt="the ")["input_ids"][0]) for part in spans]
    assert len(set(tokens)) > 1
    expected = unit(np.average(chunks.vectors.astype(np.float64), axis=0, weights=tokens))
    np.testing.assert_allclose(model.encode_document(LONG, long="chunk-mean"), expected, atol=2e-6)
    several = model.encode_document(DOCUMENTS, long="chunk-mean")
    assert several.shape == (4, tiny.WIDTH)
    np.testing.assert_allclose(several[1], expected, atol=2e-6)
    np.testing.assert_allclose(several[0], model.encode_document("red apple"), atol=2e-6)


def test_late_chunks_are_means_of_states_that_saw_the_document(tmp_path: Path) -> None:
    model = SentenceTransformer(tiny.write_bert(tmp_path, sentence={"max_seq_length": 41}), dtype="float32")
    text = "red apple. the law tax. green apple the."
    found = model.encode_document(text, long="late", chunk_tokens=9)
    states = model.encode(text, output_value="token_embeddings").astype(np.float64)
    offsets = model.tokenizer.encode(text).offsets
    assert len(states) == len(offsets)
    assert len(found) > 1
    for number, (start, stop) in enumerate(found.span):
        inside = [i for i, (a, b) in enumerate(offsets) if a < b and start < b and a < stop]
        if number == 0:
            inside.insert(0, 0)
        if number == len(found) - 1:
            inside.append(len(offsets) - 1)
        np.testing.assert_allclose(found.vectors[number], unit(states[inside].mean(axis=0)), atol=2e-6)
    alone = model.encode_document(text[found.span[1, 0] : found.span[1, 1]])
    assert np.abs(found.vectors[1] - alone).max() > 1e-3, "the rest of the document made no difference"


def test_options(model: SentenceTransformer) -> None:
    whole = model.encode_document(LONG, long="chunks")
    short = model.encode_document(LONG, long="chunks", truncate_dim=5, normalize_embeddings=True)
    assert short.vectors.shape == (len(whole), 5)
    expected = whole.vectors[:, :5] / np.linalg.norm(whole.vectors[:, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(short.vectors, expected, atol=1e-5)
    finer = model.encode_document(LONG, long="chunks", chunk_tokens=9, chunk_overlap=2)
    assert len(finer) > len(whole)
    assert model.encode_document([], long="chunk-mean").shape == (0, tiny.WIDTH)
    assert len(model.encode_document([], long="late")) == 0
    other = model.encode_document(LONG, prompt="tax ", long="chunks")
    np.testing.assert_allclose(
        other.vectors[0], model.encode(LONG[slice(*other.span[0])], prompt="tax "), atol=2e-6
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"long": "halves"}, ValueError, "long must be 'truncate', 'chunk-mean', 'chunks' or 'late', not 'halves'"),
        ({"chunk_tokens": 0}, ValueError, "chunk_tokens must be a positive integer or None, not 0"),
        ({"chunk_tokens": 18}, ValueError, "chunk_tokens=18 is more than the 17 tokens that this model reads"),
        ({"chunk_overlap": 9}, ValueError, "overlap must be from 0 to half of the 14 tokens"),
        ({"long": "late"}, TextTooLong, "long='late' reads a document at once, and row 0 has 4"),
    ],
)
def test_what_is_refused(
    model: SentenceTransformer, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.encode_document([LONG * 2], **{"long": "chunks", **options})


def test_inputs_that_are_no_texts(model: SentenceTransformer) -> None:
    with pytest.raises(InvalidInput, match="long='chunks' divides texts, not pairs"):
        model.encode_document([("red", "apple")], long="chunks")
    with pytest.raises(InvalidInput, match="row 1 holds half of a surrogate pair"):
        model.encode_document(["red", "apple \ud800"], long="chunks")


def test_late_needs_token_states(tmp_path: Path) -> None:
    static = SentenceTransformer(tiny.write_static(tmp_path / "static"))
    with pytest.raises(UnsupportedModel, match="a static model's have seen nothing but themselves"):
        static.encode_document(["red"], long="late")
    pooling = {"word_embedding_dimension": tiny.WIDTH, "pooling_mode_cls_token": True}
    first = SentenceTransformer(tiny.write_bert(tmp_path / "cls", pooling=pooling), dtype="float32")
    with pytest.raises(UnsupportedModel, match=r"takes one token's \(cls\), which a chunk has not"):
        first.encode_document(["red"], long="late")


def test_a_model_without_a_limit_is_given_256_tokens(tmp_path: Path) -> None:
    static = SentenceTransformer(tiny.write_static(tmp_path))
    found = static.encode_document("red apple tax law " * 200, long="chunks")
    assert len(found) == 4  # 800 tokens
    with pytest.warns(ZeroVectorWarning):
        assert static.encode_document(["", "red"], long="chunks").document.tolist() == [0, 1]
