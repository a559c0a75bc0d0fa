"""`encode` and its kin on a tiny BERT and a tiny static model: forms, order, limits, prompts, streams, threads."""

from __future__ import annotations

import json
import logging
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from tests import tiny
from vicinal import SentenceTransformer, quantize_embeddings
from vicinal.errors import (
    DimensionMismatch,
    InvalidInput,
    MissingExtra,
    NonFiniteEmbedding,
    PromptWarning,
    TextTooLong,
    TruncationWarning,
    Unavailable,
    UnsupportedModel,
    ZeroVectorWarning,
)

WORDS = ("red", "green", "apple", "tax", "law", "the", "query", "a", "b", "c")
LIMIT = 17
LONG = "red " * 40
CLOSE = 2e-6
"""What the batch that a text is in may change, at float32."""


def sentences(n: int, seed: int = 0) -> list[str]:
    """Different texts of 1 to 9 words."""
    rng = np.random.default_rng(seed)
    return [" ".join([str(n), *rng.choice(WORDS, rng.integers(0, 9))]) for n in range(n)]


TEXTS = [*sentences(31), "", "red apple", "the  law -"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"query": "query: ", "list": "- "}
    return tiny.write_bert(tmp_path_factory.mktemp("models") / "bert", settings={"prompts": prompts})


@pytest.fixture(scope="module")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_static(tmp_path_factory.mktemp("models") / "static", normalize=False)


def load(folder: Path, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(folder, **{"dtype": "float32", "threads": 2, **options})


@pytest.fixture(scope="module")
def shared(folder: Path) -> SentenceTransformer:
    """For tests that change nothing."""
    return load(folder)


@pytest.fixture(scope="module")
def alone(shared: SentenceTransformer) -> np.ndarray:
    """The vectors of TEXTS, each computed by itself."""
    return np.stack([shared.encode(text) for text in TEXTS])


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    """For tests that change settings."""
    return load(folder)


@pytest.fixture(scope="module")
def static(static_folder: Path) -> SentenceTransformer:
    return load(static_folder)


def assert_near(found: Any, wanted: Any, tolerance: float = CLOSE) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


# ---- forms of inputs and outputs -----------------------------------------------------------------------------------


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


# ---- out -----------------------------------------------------------------------------------------------------------


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


# ---- length --------------------------------------------------------------------------------------------------------


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
        "Split them",
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


# ---- bad values ----------------------------------------------------------------------------------------------------


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
    with pytest.raises(Unavailable, match=r"device='cuda' is not to be had: .* computes on the cpu"):
        shared.encode("red", device="cuda")


@pytest.mark.parametrize("call", ["encode", "encode_query", "encode_document", "encode_iter"])
def test_an_unknown_keyword(call: str, shared: SentenceTransformer) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'normalise'"):
        getattr(shared, call)(["red"], normalise=True)


# ---- prompts -------------------------------------------------------------------------------------------------------

PROMPTS = {"query": "query: ", "list": "- "}
RESOLVED = [
    # method, settings of the model, arguments, what stands in front
    ("encode", {}, {}, ""),
    ("encode", {}, {"prompt_name": "query"}, "query: "),
    ("encode", {}, {"prompt": "the "}, "the "),
    ("encode", {}, {"prompt": ""}, ""),
    ("encode", {"default": "list"}, {}, "- "),
    ("encode", {"default": "list"}, {"prompt": ""}, ""),
    ("encode", {"default": "list"}, {"prompt_name": "query"}, "query: "),
    ("encode", {"default": "list"}, {"prompt_name": "document"}, ""),
    ("encode_query", {}, {}, "query: "),
    ("encode_query", {"default": "list"}, {}, "query: "),
    ("encode_query", {}, {"prompt": ""}, ""),
    ("encode_query", {}, {"prompt_name": "list"}, "- "),
    ("encode_query", {"prompts": {"query": ""}, "default": None}, {}, ""),
    ("encode_document", {}, {}, ""),
    ("encode_document", {"default": "list"}, {}, ""),
    ("encode_document", {"prompts": {"document": "the ", "passage": "a "}}, {}, "the "),
    ("encode_document", {"prompts": {"passage": "a ", "corpus": "b "}}, {}, "a "),
    ("encode_document", {"prompts": {"corpus": "b "}}, {}, "b "),
    ("encode_document", {"prompts": {"passage": "a "}}, {"prompt": ""}, ""),
    ("encode_iter", {}, {}, ""),
    ("encode_iter", {"default": "list"}, {}, "- "),
    ("encode_iter", {"default": "list"}, {"prompt": ""}, ""),
    ("encode_iter", {}, {"prompt_name": "query"}, "query: "),
]


@pytest.mark.parametrize(("method", "setting", "arguments", "front"), RESOLVED)
def test_prompts(
    method: str, setting: dict[str, Any], arguments: dict[str, Any], front: str, folder: Path, shared: Any
) -> None:
    """A prompt is as if the text began with it."""
    options = {"prompts": setting.get("prompts", PROMPTS), "default_prompt_name": setting.get("default")}
    model = load(folder, **options) if setting else shared
    found = np.stack(list(getattr(model, method)(["red apple", "tax"], **arguments)))
    assert_near(found, shared.encode([f"{front}red apple", f"{front}tax"]))


def test_the_constructors_prompts_are_put_over_the_models(folder: Path) -> None:
    model = load(folder, prompts={"query": "", "mine": "the ", "none": None})
    assert model.prompts == {"query": "", "document": "", "list": "- ", "mine": "the ", "none": ""}
    with pytest.raises(ValueError, match="default_prompt_name='nope' is none of this model's prompts"):
        load(folder, default_prompt_name="nope")


def test_prompt_wins_over_its_name(shared: SentenceTransformer) -> None:
    with pytest.warns(PromptWarning, match="both prompt and prompt_name='query' given: prompt is used") as caught:
        found = shared.encode("red", prompt_name="query", prompt="- ")
    assert caught[0].filename == __file__
    assert_near(found, shared.encode("- red"))


def test_a_familys_prompts_are_supplied_and_said_once(tmp_path: Path) -> None:
    """e5 models were trained with prompts that their files do not state."""
    folder = tiny.write_bert(tmp_path / "e5-small-v2")
    model = load(folder)
    with pytest.warns(PromptWarning, match="was trained with the prompt 'query: ' for every query") as caught:
        found = model.encode_query("red apple")
    assert caught[0].filename == __file__
    with pytest.warns(PromptWarning, match="'passage: ' for every document"):
        model.encode_document("red")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_near(model.encode_query("red apple"), found)
        assert_near(model.encode("query: red apple"), found)
        assert_near(load(folder, prompts={"query": ""}).encode_query("red apple"), model.encode("red apple"))
    stated = tiny.write_bert(tmp_path / "org/e5-small-v2", settings={"prompts": {"query": "- "}})
    assert load(stated).prompts["query"] == "- "


def test_pooling_may_leave_the_prompt_out(model: SentenceTransformer) -> None:
    """The prompt's tokens and [CLS] are seen, and not counted."""
    states = model.encode("query: red apple", output_value="token_embeddings").astype(float)
    prompt = len(model.encode("query: ", output_value="token_embeddings")) - 1
    model.set_pooling_include_prompt(False)
    wanted = states[prompt:].mean(0)
    found = model.encode("red apple", prompt="query: ")
    assert_near(found, wanted / np.linalg.norm(wanted))
    assert_near(model.encode(["red apple", "tax"], prompt_name="query")[0], found)
    assert_near(next(iter(model.encode_iter(["red apple"], prompt_name="query"))), found)
    assert np.abs(found - model.encode("query: red apple")).max() > 0.01


# ---- streams -------------------------------------------------------------------------------------------------------


def test_a_stream(shared: SentenceTransformer, alone: np.ndarray) -> None:
    found = list(shared.encode_iter(text for text in TEXTS))
    assert_near(np.stack(found), alone)
    assert list(shared.encode_iter([])) == []
    cut = np.stack(list(shared.encode_iter(TEXTS, truncate_dim=5, normalize_embeddings=True)))
    assert_near(cut, shared.encode(TEXTS, truncate_dim=5, normalize_embeddings=True))


def test_a_stream_is_in_order(static: SentenceTransformer) -> None:
    texts = sentences(5500)
    assert_near(np.stack(list(static.encode_iter(iter(texts)))), static.encode(texts), 0)


def test_a_stream_without_end_is_drawn_a_bounded_number_ahead(static: SentenceTransformer) -> None:
    drawn = 0

    def endless() -> Iterator[str]:
        nonlocal drawn
        for i in count():
            drawn += 1
            yield f"red {i % 1000}"

    vectors = static.encode_iter(endless())
    assert drawn == 0
    for i, _ in enumerate(islice(vectors, 12_000)):
        assert drawn - i <= 10_000
    vectors.close()  # type: ignore[attr-defined]


def test_a_stream_needs_constant_memory(static: SentenceTransformer) -> None:
    def peak(n: int) -> int:
        tracemalloc.start()
        for _ in static.encode_iter(" ".join(WORDS[i // 10**k % 10] for k in range(5)) for i in range(n)):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(5000)
    assert peak(20_000) < 1.5 * peak(5000)


def test_a_stream_names_rows_of_the_whole(shared: SentenceTransformer) -> None:
    texts = ["red"] * 4096 + ["tax", LONG]
    with pytest.raises(TextTooLong, match=r"row 4097 \(42 tokens\)"):
        list(shared.encode_iter(texts, truncation="error"))
    with pytest.raises(InvalidInput, match="row 4098 is None"):
        list(shared.encode_iter([*texts, None], truncation="ignore"))


@pytest.mark.parametrize("n", [1, 1024, 4096])
def test_a_stream_of_texts_and_pairs_is_refused(n: int, static: SentenceTransformer) -> None:
    with pytest.raises(InvalidInput, match=rf"row {n} is a pair, row 0 is .*: give one kind a call"):
        list(static.encode_iter(["red"] * n + [("red", "tax")] * 300))


def test_a_stream_refuses_a_single_text(shared: SentenceTransformer) -> None:
    with pytest.raises(InvalidInput, match="for a single text use encode"):
        list(shared.encode_iter("red apple"))


def test_a_stream_that_is_left_gives_everything_back(model: SentenceTransformer) -> None:
    for _ in range(8):  # more than there are requests
        vectors = model.encode_iter(sentences(700))
        next(vectors)
        del vectors
    with pytest.raises(KeyError):
        list(model.encode_iter(_breaking()))
    assert model.encode(TEXTS).shape == (len(TEXTS), tiny.WIDTH)


def _breaking() -> Iterator[str]:
    yield from sentences(600)
    raise KeyError("mine")


def test_a_batch_that_fails_gives_its_request_back(model: SentenceTransformer) -> None:
    (program,) = model._engine._programs.values()
    for _ in range(8):
        with pytest.raises(KeyError):
            program.start({}, False)
    assert model.encode("red").shape == (tiny.WIDTH,)


# ---- threads -------------------------------------------------------------------------------------------------------


def at_once(works: list[Any]) -> list[BaseException]:
    """Run functions in threads that start together; what they raise."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def run(work: Any) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # the thread that waits raises it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "threads block one another"
    return errors


def test_threads_get_their_own_rows(shared: SentenceTransformer) -> None:
    def worker(n: int) -> Any:
        texts = sentences(60, seed=n)
        wanted = shared.encode(texts)

        def work() -> None:
            for batch_size in (1, None, 7):
                assert_near(shared.encode(texts, batch_size=batch_size), wanted)
            assert_near(np.stack(list(shared.encode_iter(texts))), wanted)

        return work

    assert at_once([worker(n) for n in range(16)]) == []


def test_threads_that_compile_the_same_graph(folder: Path) -> None:
    model = load(folder)
    found: list[np.ndarray] = []
    assert at_once([lambda: found.append(model.encode("red", output_value="token_embeddings"))] * 8) == []
    assert len({states.tobytes() for states in found}) == 1


def test_a_call_works_with_the_settings_that_it_began_with(model: SentenceTransformer) -> None:
    """Settings change in one thread while another encodes: every matrix is of one setting from first to last row."""
    texts = sentences(400)
    wanted = {dims: model.encode(texts, truncate_dim=dims) for dims in (5, tiny.WIDTH)}
    done = threading.Event()

    def change() -> None:
        for dims in [5, None] * 100:
            model.truncate_dim = dims
        done.set()

    def work() -> None:
        while not done.is_set():
            found = model.encode(texts)
            assert_near(found, wanted[found.shape[1]])

    assert at_once([change, work, work]) == []


def test_setters_in_two_threads_lose_nothing(model: SentenceTransformer) -> None:
    """Each setter replaces the whole spec: one must not undo another's change."""

    def lengths() -> None:
        for i in range(2000):
            model.max_seq_length = 5 + i % 7
            assert model.max_seq_length == 5 + i % 7

    def dims() -> None:
        for i in range(2000):
            model.truncate_dim = 3 + i % 11
            assert model.truncate_dim == 3 + i % 11

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert at_once([lengths, dims]) == []
    finally:
        sys.setswitchinterval(interval)


# ---- constructor ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"device": "cuda"}, Unavailable, "device='cuda' is not to be had"),
        ({"backend": "torch"}, Unavailable, 'backend="torch" is not in this version of vicinal; use "openvino"'),
        ({"backend": "onnx", "dtype": "bfloat16"}, Unavailable, "the onnx backend computes in float32 or int8, not"),
        ({"model_kwargs": {"provider": "CPUExecutionProvider"}}, ValueError,
         'provider means nothing to the openvino backend; it is for backend="onnx"'),
        ({"backend": "tensorflow"}, ValueError, "backend must be .*, not 'tensorflow'"),
        ({"dtype": "float16"}, ValueError, 'dtype must be "auto", "float32", "bfloat16" or "int8", not \'float16\''),
        ({"backend": "numpy", "dtype": "int8"}, Unavailable, "the numpy backend computes in float32, not int8"),
        ({"threads": 0}, ValueError, "threads must be a positive integer, not 0"),
        ({"threads": True}, ValueError, "threads must be a positive integer, not True"),
        ({"modules": [1]}, UnsupportedModel, "building a model from modules is not in this version"),
        ({"model_kwargs": {"attn_implementation": "sdpa"}, "dtype": "auto"}, ValueError,
         "model_kwargs: attn_implementation mean nothing to the backends here"),
        ({"model_kwargs": {"torch_dtype": "float32"}, "dtype": "float32"}, ValueError, "dtype is given more than once"),
        ({"model_kwargs": {"device_map": "cuda"}}, Unavailable, "device_map='cuda' is not to be had"),
        ({"model_kwargs": {"ov_config": {}}, "backend": "onnx"}, ValueError,
         'ov_config means nothing to the onnx backend; it is for backend="openvino"'),
        ({"model_kwargs": {"ov_config": 3}}, ValueError, "ov_config must be a mapping, or the path of a JSON file"),
        ({"model_kwargs": {"ov_config": "/nowhere.json"}}, ValueError, "/nowhere.json is no readable JSON file"),
        ({"model_kwargs": {"ov_config": {"INFERENCE_NUM_THREADS": 1}}}, ValueError, "is what threads= says here"),
        ({"model_kwargs": {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}, "dtype": "float32"}, ValueError,
         "dtype is given more than once"),
        ({"model_kwargs": {"ov_config": {"INFERENCE_PRECISION_HINT": "f16"}}, "dtype": "auto"}, ValueError,
         "dtype must be .* not 'float16'"),
        ({"model_kwargs": {"ov_config": {"NO_SUCH": 1}}}, Unavailable,
         "OpenVINO lets nobody set NO_SUCH here, but .*NUM_STREAMS"),
        ({"processor_kwargs": {"do_lower_case": True}}, ValueError, "processor_kwargs: do_lower_case is not"),
        ({"processor_kwargs": {"use_fast": False}}, ValueError, "use_fast=False is not to be had: every tokenizer"),
        ({"processor_kwargs": {"truncation_side": "left"}}, ValueError, "truncation_side='left' is not to be had"),
        ({"config_kwargs": {"num_hiden_layers": 1}}, ValueError, "config_kwargs: nothing reads num_hiden_layers"),
        ({"processor_kwargs": {"model_max_length": 100}}, ValueError, "max_seq_length=100 is more than the 41"),
        ({"similarity_fn_name": "hamming"}, ValueError, "'hamming' is not a similarity function"),
        ({"truncate_dim": -1}, ValueError, "truncate_dim must be a positive integer or None, not -1"),
        ({"normalise": True}, TypeError, "unexpected keyword argument 'normalise'"),
    ],
)  # fmt: skip
def test_constructor_arguments_that_are_refused(
    options: dict[str, Any], error: type[Exception], text: str, folder: Path
) -> None:
    with pytest.raises(error, match=text):
        load(folder, **options)


def test_constructor_arguments_that_are_honoured(folder: Path) -> None:
    model = load(folder, tokenizer_kwargs={"model_max_length": 9}, similarity_fn_name="dot", truncate_dim=5, threads=1)
    assert (model.max_seq_length, model.similarity_fn_name, model.truncate_dim) == (9, "dot", 5)
    assert model.encode("red").shape == (5,)
    named = SentenceTransformer(str(folder), model_kwargs={"torch_dtype": "float32", "device_map": "cpu"})
    assert named.dtype == "float32"
    easy = load(folder, processor_kwargs={"padding_side": "left", "truncation_side": "right", "use_fast": True})
    np.testing.assert_array_equal(easy.encode("red apple"), named.encode("red apple"))
    assert load(folder, config_kwargs={"num_hidden_layers": 1}).spec.route(None).modules[0].network.layers == 1


def test_openvinos_own_settings(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "ov.json"
    path.write_text('{"NUM_STREAMS": 2, "INFERENCE_PRECISION_HINT": "f32"}')
    for given in (path, json.loads(path.read_text())):
        model = SentenceTransformer(folder, model_kwargs={"ov_config": given})
        (program,) = model._engine._programs.values()
        assert program._model.get_property("NUM_STREAMS") == 2  # type: ignore[attr-defined]
        assert model.dtype == "float32"


@pytest.mark.parametrize("backend", ["openvino", "onnx", "numpy"])
def test_backends_agree(backend: str, folder: Path, static_folder: Path, alone: np.ndarray, static: Any) -> None:
    model = load(folder, backend=backend)
    assert model.backend == model.get_backend() == backend
    assert_near(model.encode(TEXTS), alone, 1e-5)
    assert_near(load(static_folder, backend=backend).encode(TEXTS[:9]), static.encode(TEXTS[:9]))


def test_int8_is_near(folder: Path, alone: np.ndarray) -> None:
    found = load(folder, dtype="int8").encode(TEXTS)
    assert (found * alone).sum(1).min() > 0.9
    assert np.abs(found - alone).max() > 1e-5


# ---- progress, similarity ------------------------------------------------------------------------------------------


def test_progress(shared: SentenceTransformer, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("vicinal")
    level = logger.level
    try:
        for at, said, shown in ((logging.WARNING, None, False), (logging.INFO, None, True), (logging.DEBUG, None, True),
                                (logging.WARNING, True, True), (logging.INFO, False, False)):  # fmt: skip
            logger.setLevel(at)
            shared.encode(["red", "tax"], show_progress_bar=said)
            captured = capsys.readouterr()
            assert captured.out == ""
            assert ("2/2" in captured.err) is shown
    finally:
        logger.setLevel(level)


def test_similarity(model: SentenceTransformer) -> None:
    a, b = model.encode(["red", "tax"]), model.encode(["apple", "law"])
    assert_near(model.similarity(a, b), a @ b.T, 1e-5)
    assert_near(model.similarity_pairwise(a, b), (a * b).sum(1), 1e-5)
    model.similarity_fn_name = "euclidean"
    assert_near(model.similarity_pairwise(a, b), -np.linalg.norm(a - b, axis=1), 1e-5)


def test_evaluate(shared: SentenceTransformer, tmp_path: Path) -> None:
    seen: list[Any] = []
    result = shared.evaluate(lambda model, path: seen.append((model, path)) or 0.5, tmp_path / "new/results")
    assert result == 0.5
    assert seen == [(shared, str(tmp_path / "new/results"))]
    assert (tmp_path / "new/results").is_dir()
