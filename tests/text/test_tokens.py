"""Token ids against the tokenizers library itself, which truncates and frames a copy of the tokenizer."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tests import tiny
from vicinal.errors import DamagedModel, InvalidInput
from vicinal.text.tokens import Text, TextTokenizer, Tokens, padded


def wordpiece() -> Tokenizer:
    return Tokenizer.from_str(json.dumps(tiny.wordpiece()))


def byte_bpe() -> Tokenizer:
    """As RoBERTa's: bytes, two separators between the texts of a pair, a mask that swallows the space before it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("r", "e"), ("re", "d"), ("Ġ", "a"), ("t", "h"), ("th", "e"), ("Ġ", "the")]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, *("".join(pair) for pair in merges), "<mask>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]))
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer


def unigram() -> Tokenizer:
    """As T5's: one special token, at the end alone."""
    pieces = [("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁the", -3.0), ("red", -3.5), ("a", -4.0), ("p", -4.0),
              ("le", -4.5), ("e", -5.0), ("t", -5.0)]  # fmt: skip
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 0)]
    )
    tokenizer.add_special_tokens(["</s>"])
    return tokenizer


def long_frame() -> Tokenizer:
    """Three tokens before a text and two after it: not even between the two ends."""
    tokenizer = wordpiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] [MASK] [CLS] $A [SEP] [PAD]",
        pair="[CLS] $A [MASK] [SEP] $B:1 [SEP]:2",
        special_tokens=[(token, tiny.VOCABULARY.index(token)) for token in ("[CLS]", "[MASK]", "[SEP]", "[PAD]")],
    )
    return tokenizer


def bare() -> Tokenizer:
    """No special tokens at all."""
    tokenizer = wordpiece()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    return tokenizer


MAKERS = {make.__name__: make for make in (wordpiece, byte_bpe, unigram, long_frame, bare)}
SHARED = {name: make() for name, make in MAKERS.items()}
ROWS = 400
"""Embeddings, more than any of these vocabularies has tokens."""


def tokenizer_of(made: Tokenizer, special: bool = True, keep_end: bool = False) -> TextTokenizer:
    return TextTokenizer(made, ROWS, 3, special, keep_end)


OURS = {
    (name, special, keep_end): tokenizer_of(SHARED[name], special, keep_end)
    for name in MAKERS
    for special in (True, False)
    for keep_end in (True, False)
}
WORDPIECE = OURS["wordpiece", True, False]

each_tokenizer = pytest.mark.parametrize("name", MAKERS)
words = st.sampled_from(
    ["red", "the", "apple", "taxing", "[SEP]", "<mask>", "</s>", "é", "中", "👩‍👧", "\t", "  ", "x"]
)
texts = st.lists(words | st.text(max_size=6), max_size=12).map(" ".join)
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def encoded(
    name: str, batch: Sequence[Text], limit: int | None, special: bool = True, keep_end: bool = False
) -> list[Any]:
    """What the library makes of the texts, truncated by itself."""
    tokenizer = MAKERS[name]()
    if limit is not None:
        direction = "left" if keep_end else "right"
        tokenizer.enable_truncation(limit, strategy="longest_first", direction=direction)
    return tokenizer.encode_batch(list(batch), add_special_tokens=special)


def rows(tokens: Tokens) -> list[list[int]]:
    return [tokens.ids[s : s + n].tolist() for s, n in zip(tokens.starts, tokens.lengths, strict=True)]


def type_rows(tokens: Tokens) -> list[list[int]]:
    types = np.zeros_like(tokens.ids) if tokens.types is None else tokens.types
    return [types[s : s + n].tolist() for s, n in zip(tokens.starts, tokens.lengths, strict=True)]


def check(name: str, batch: Sequence[Text], limit: int | None, special: bool = True, keep_end: bool = False) -> None:
    found = OURS[name, special, keep_end](batch, limit)
    wanted = encoded(name, batch, limit, special, keep_end)
    assert rows(found) == [e.ids for e in wanted]
    assert type_rows(found) == [e.type_ids for e in wanted]
    assert found.full.tolist() == [len(e.ids) for e in encoded(name, batch, None, special)]
    assert found.ids.dtype == np.int32


@each_tokenizer
@relaxed
@given(st.lists(texts, min_size=1, max_size=4), st.none() | st.integers(5, 20), st.booleans(), st.booleans())
def test_texts(name: str, batch: list[str], limit: int | None, special: bool, keep_end: bool) -> None:
    check(name, batch, limit, special, keep_end)


@each_tokenizer
@relaxed
@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=4),
    st.none() | st.integers(4, 20),
    st.booleans(),
    st.booleans(),
)
def test_pairs(name: str, batch: list[tuple[str, str]], limit: int | None, special: bool, keep_end: bool) -> None:
    check(name, batch, limit, special, keep_end)


@pytest.mark.parametrize("name", ["wordpiece", "byte_bpe", "unigram", "bare"])
@pytest.mark.parametrize("limit", range(2, 21))
def test_every_limit_with_texts_around_it(name: str, limit: int) -> None:
    check(name, ["red " * n for n in (0, 1, *range(max(limit - 4, 0), limit + 3), 40)], limit)


@pytest.mark.parametrize("name", ["wordpiece", "byte_bpe", "unigram", "long_frame", "bare"])
@pytest.mark.parametrize("limit", range(4, 21))
def test_every_limit_with_every_pair_around_it(name: str, limit: int) -> None:
    lengths = (0, 1, 2, limit // 2 - 1, limit // 2, limit // 2 + 1, limit - 3, limit, 40)
    check(name, [("red " * a, "the " * b) for a in lengths for b in lengths], limit)


@pytest.mark.parametrize("limit", [1, 2])
def test_special_tokens_alone_are_left_when_nothing_else_fits(limit: int) -> None:
    """The frame is kept whole: without it the network is not given what it was trained on."""
    found = WORDPIECE(["red apple", ""], limit)
    cls, sep = tiny.VOCABULARY.index("[CLS]"), tiny.VOCABULARY.index("[SEP]")
    assert rows(found) == [[cls, sep], [cls, sep]]
    assert found.full.tolist() == [4, 2]


def test_the_types_of_single_texts_are_the_templates() -> None:
    tokenizer = wordpiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:2 $A:1 [SEP]:0", pair="$A $B:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    found = tokenizer_of(tokenizer)(["red apple", "tax"], None)
    assert type_rows(found) == [[2, 1, 1, 0], [2, 1, 0]]


def test_a_vocabulary_without_the_letter_a_keeps_its_special_tokens() -> None:
    """How a text is framed must not be learnt from one letter that some vocabularies lack."""
    tokenizer = Tokenizer(models.BPE({"<s>": 0, "</s>": 1, "x": 2, "y": 3}, []))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    ours = tokenizer_of(tokenizer)
    assert rows(ours(["xy"], None)) == [[0, 2, 3, 1]]
    assert rows(ours([("xy", "y")], None)) == [[0, 2, 3, 1, 3, 1]]
    assert rows(ours([""], None)) == [[0, 1]]


def test_a_token_without_an_embedding() -> None:
    few = len(tiny.VOCABULARY) - 1
    ours = TextTokenizer(wordpiece(), few, 3)
    assert rows(ours(["red"], None))
    with pytest.raises(DamagedModel, match=rf"token '##ing' has number {few}, but the network has {few} embeddings"):
        ours(["red", "redding ing taxing"], None)
    with pytest.raises(DamagedModel, match=r"token '\[CLS\]' has number 2, but the network has 2 embeddings"):
        TextTokenizer(wordpiece(), 2)


@pytest.mark.parametrize("number", [2**31 - 1, 2**31, 2**32 - 1])
def test_a_token_with_a_huge_number(number: int) -> None:
    described = tiny.wordpiece()
    described["model"]["vocab"]["zebra"] = number
    with pytest.raises(DamagedModel, match=r"tokens of larger numbers than any network has|has number"):
        tokenizer_of(Tokenizer.from_str(json.dumps(described)))(["zebra"], None)


def test_a_segment_without_an_embedding() -> None:
    ours = TextTokenizer(wordpiece(), ROWS, 1)
    assert rows(ours(["red"], None))
    with pytest.raises(
        DamagedModel, match="the tokenizer marks 2 segments of a text, but the network has embeddings for 1"
    ):
        ours([("red", "tax")], None)


def test_a_tokenizer_that_fails() -> None:
    silent = Tokenizer(models.Unigram([("a", -1.0)], unk_id=None, byte_fallback=False))
    with pytest.raises(DamagedModel, match=r"the model's tokenizer fails: .*unknown token"):
        tokenizer_of(silent)(["b"], None)


@each_tokenizer
def test_the_shared_tokenizer_is_not_changed(name: str) -> None:
    tokenizer = MAKERS[name]()
    before = tokenizer.to_str()
    ours = tokenizer_of(tokenizer)
    ours(["red apple " * 30, ""], 7)
    ours([("red " * 30, "apple")], 7)
    assert ours.special_ids is not None
    assert tokenizer.to_str() == before
    assert tokenizer.truncation is None
    assert tokenizer.padding is None


def test_many_threads_with_limits_of_their_own() -> None:
    """A limit is the call's own: a shared tokenizer with truncation switched on and off would mix them."""
    batch = ["red apple " * 20, "tax law"]
    wanted = {limit: [e.ids for e in encoded("wordpiece", batch, limit)] for limit in range(3, 19)}
    wrong: list[int] = []

    def work(limit: int) -> None:
        wrong.extend(limit for _ in range(40) if rows(WORDPIECE(batch, limit)) != wanted[limit])

    threads = [threading.Thread(target=work, args=(limit,)) for limit in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_long_texts_are_tokenized_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ["red apple", "", "tax " * 50, "law", "the " * 3, "x" * 30]
    whole = WORDPIECE(batch, 9)
    monkeypatch.setattr("vicinal.text.tokens.CHARACTERS", 11)
    parts = WORDPIECE(batch, 9)
    assert rows(parts) == rows(whole)
    assert parts.full.tolist() == whole.full.tolist()
    check("wordpiece", [("tax " * 9, "red"), ("", "law")], 9)


@pytest.mark.parametrize("batch", [["fine", "bro\ud800ken"], [("fine", "fine"), ("fine", "bro\ud800ken")]])
def test_half_a_surrogate_pair(batch: list[Any]) -> None:
    with pytest.raises(InvalidInput, match=r"a text holds half of a surrogate pair, .*no character: 'bro.ud800ken'"):
        WORDPIECE(batch, None)


def test_padded() -> None:
    found = padded(WORDPIECE([("red", "tax law"), ("", "x")], None))
    wanted = encoded("wordpiece", [("red", "tax law"), ("", "x")], None)
    width = len(wanted[0].ids)
    for key, attribute in (("input_ids", "ids"), ("token_type_ids", "type_ids")):
        assert found[key].tolist() == [(getattr(e, attribute) + [0] * width)[:width] for e in wanted]
        assert found[key].dtype == np.int64
    assert found["attention_mask"].tolist() == [([1] * len(e.ids) + [0] * width)[:width] for e in wanted]


@given(st.text(st.sampled_from("red apple.é字 "), max_size=40))
def test_offsets_are_those_of_the_library(text: str) -> None:
    backend = wordpiece()
    tokenizer = TextTokenizer(wordpiece(), len(tiny.VOCABULARY), 2, True)
    assert tokenizer.offsets(text).tolist() == [list(span) for span in backend.encode(text).offsets]
