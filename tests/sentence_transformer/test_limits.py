"""Texts that are too long, and values that are refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import tiny
from tests.sentence_transformer.texts import LIMIT, LONG, TEXTS, assert_near, load, sentences
from vicinal import SentenceTransformer
from vicinal.errors import (
    InvalidInput,
    NonFiniteEmbedding,
    TextTooLong,
    TruncationWarning,
    Unavailable,
    ZeroVectorWarning,
)

# ---- length ---------------------------------------------------------------------------------------------------------


def test_too_long_is_said(shared: SentenceTransformer) -> None:
    texts = ["red", LONG, "tax", LONG + "tax", LONG]
    with pytest.warns(TruncationWarning) as caught:
        found = shared.encode(texts)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert caught[0].filename == __file__
    for part in (
        "longer than this model's 17 tokens",
        "row 1 (42 tokens)",
        "row 3 (43)",
        'encode_document(..., long="chunk-mean") reads whole texts',
        'truncation="ignore"',
    ):
        assert part in message
    assert_near(found[1], found[4], 0)
    assert_near(found[1], shared.encode("red " * (LIMIT - 2), truncation="error"))
    assert_near(shared.encode(texts, truncation="ignore"), found, 0)


@pytest.mark.parametrize("call", ["encode", "encode_query", "encode_document", "encode_iter"])
@pytest.mark.parametrize("output", ["sentence_embedding", "token_embeddings", None])
def test_truncation_in_every_call(call: str, output: Any, shared: SentenceTransformer) -> None:
    options = {} if call == "encode_iter" else {"output_value": output}

    def run(**more: Any) -> list[Any]:
        return list(getattr(shared, call)(["red", LONG], **options, **more))

    with pytest.warns(TruncationWarning, match="row 1") as caught:
        run()
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.raises(TextTooLong, match=r"longer than this model's 17 tokens.*: row 1 \(4\d tokens\)"):
        run(truncation="error")
    assert len(run(truncation="ignore")) == 2
    with pytest.raises(ValueError, match=r"truncation must be .*'chop'"):
        run(truncation="chop")


def test_many_long_texts_are_counted(shared: SentenceTransformer) -> None:
    texts = [LONG + str(i) for i in range(300)]
    with pytest.warns(TruncationWarning, match=r"300 .*row 0 \(43 tokens\), row 1 .* and 295 more") as caught:
        shared.encode(texts)
    assert len(caught) == 1
    assert len(str(caught[0].message)) < 400


def test_special_tokens_count(shared: SentenceTransformer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shared.encode("red " * (LIMIT - 2))
    with pytest.warns(TruncationWarning, match=r"row 0 \(18 tokens\)"):
        shared.encode("red " * (LIMIT - 1))


# ---- bad values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [0, 5, 290, 1400])
def test_the_row_that_is_no_text(row: int, static: SentenceTransformer) -> None:
    texts: list[Any] = sentences(1500)
    texts[row] = None
    with pytest.raises(InvalidInput, match=rf"row {row} is None, not a text"):
        static.encode(texts)
    texts[row] = "bro\ud800ken"
    for call in (static.encode, lambda given: list(static.encode_iter(given))):
        with pytest.raises(InvalidInput, match=rf"\b{row} holds half of a surrogate pair"):
            call(texts)


def test_the_row_of_a_pair_that_is_no_text(static: SentenceTransformer) -> None:
    with pytest.raises(InvalidInput, match=r"\b1 holds half of a surrogate pair"):
        static.encode([("a", "b"), ("a", "\udfff")])


def test_a_vector_that_is_no_number(tmp_path: Path) -> None:
    folder = tiny.write_static(tmp_path / "model", normalize=False)
    table = load_file(folder / "model.safetensors")["embedding.weight"]
    table[tiny.VOCABULARY.index("tax"), 3] = np.nan
    table[tiny.VOCABULARY.index("law"), 3] = np.inf
    save_file({"embedding.weight": table}, folder / "model.safetensors")
    model = load(folder)
    for options in ({}, {"normalize_embeddings": True}):
        with pytest.raises(NonFiniteEmbedding, match=r"vectors with nan or infinity for row 1, 3"):
            model.encode(["red", "tax", "apple", "law law", "tax"], **options)
    texts = [f"red {'a' * (i % 7 + 1)}" for i in range(5000)]
    texts[4500] = "tax"
    with pytest.raises(NonFiniteEmbedding, match="row 4500"):
        list(model.encode_iter(texts))


def test_a_vector_of_zeros_is_said(static: SentenceTransformer) -> None:
    with pytest.warns(ZeroVectorWarning, match=r"row 1, 3 is all zero .*its cosine with any other is 0") as caught:
        found = static.encode(["red", "", "tax", "  "])
    assert caught[0].filename == __file__
    assert not found[[1, 3]].any()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch_size must be a positive integer, not 0"),
        ({"batch_size": -3}, "batch_size must be a positive integer, not -3"),
        ({"batch_size": 2.5}, "batch_size must be a positive integer, not 2.5"),
        ({"batch_size": True}, "batch_size must be a positive integer, not True"),
        ({"batch_tokens": 0}, "batch_tokens must be a positive integer, not 0"),
        ({"batch_tokens": -5}, "batch_tokens must be a positive integer, not -5"),
        ({"batch_tokens": "x"}, "batch_tokens must be a positive integer, not 'x'"),
        ({"truncate_dim": 0}, "truncate_dim must be a positive integer or None, not 0"),
        ({"truncate_dim": -1}, "truncate_dim must be a positive integer or None, not -1"),
        ({"truncate_dim": 1.5}, "truncate_dim must be a positive integer or None, not 1.5"),
        ({"prompt_name": "nope"}, "there is no prompt named 'nope'; this model has 'query', 'document', 'list'"),
    ],
)
def test_arguments_that_are_refused(options: dict[str, Any], text: str, shared: SentenceTransformer) -> None:
    with pytest.raises(ValueError, match=text):
        shared.encode(["red"], **options)
    with pytest.raises(ValueError, match=text):
        list(shared.encode_iter(["red"], **options))


def test_devices(shared: SentenceTransformer, alone: np.ndarray) -> None:
    assert_near(shared.encode(TEXTS, device="cpu"), alone)
    with pytest.raises(Unavailable, match=r"device='cuda', but this model is on cpu"):
        shared.encode("red", device="cuda")


@pytest.mark.parametrize("call", ["encode", "encode_query", "encode_document", "encode_iter"])
def test_an_unknown_keyword(call: str, shared: SentenceTransformer) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'normalise'"):
        getattr(shared, call)(["red"], normalise=True)


def test_an_argument_of_long_documents(shared: SentenceTransformer) -> None:
    with pytest.raises(TypeError, match="argument 'long'; long: encode_document takes it"):
        shared.encode(["red"], long="chunks")
    with pytest.raises(TypeError, match=r"argument 'chunk_tokens'; chunk_tokens: it goes with .*long=\"chunk-mean\""):
        shared.encode_document(["red"], chunk_tokens=8)
