from __future__ import annotations

import json
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from vicinal.text import tokens, words
from vicinal.text.words import WordCache, plain

_ADDED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "<mask>")
_PIECES = ("a", "b", "c", "##a", "##b", "##c", "abc", "##cab", "e", "##e", "i", "##i", "ss", "ß", "##1", "1", "中",
           "日", "[", "]", "<", ">", "!", ",", "-", "'", "mask", "sep", "pad", "ο", "σ", "##σ", "##ς", "ς")  # fmt: skip
# what a normaliser, a pre-tokenizer or a search for added tokens might treat by its neighbours
_HARD = ("a", "b", "C", "abc", "E", "e\u0301", "\u0301", "\u0327\u0301", "é", "I", "İ", "ß", "Σ", "ΟΣ", "ς", "中", "日",
         "1", "!", ",", "-", "'", "[", "]", "[SEP]", "[ SEP ]", "[sep]", "[PAD]", "[UNK]", "<mask>", "<mask", ">",
         " ", "  ", "\t", "\n", "\r", "\x00", "\x01", "\x1c", "\x85", "\xa0", "\xad", "\u200b", "\u200d", "\u2028",
         "\u3000", "\ufeff", "\ufffd", "\ufb01", "\U0001f600", "\U0001d15e", "x" * 120)  # fmt: skip
_text = st.one_of(st.lists(st.sampled_from(_HARD), max_size=12).map("".join), st.text(max_size=20))


def bert(lower: bool = True, **mask: bool) -> Tokenizer:
    vocab = {piece: i for i, piece in enumerate((*_ADDED, *_PIECES))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in _ADDED[:-1]])
    tokenizer.add_special_tokens([AddedToken("<mask>", normalized=False, **mask)])
    return tokenizer


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("mask", [{}, {"lstrip": True}, {"rstrip": True}])
@settings(max_examples=150, deadline=None)
@given(calls=st.lists(st.lists(_text, max_size=6), min_size=1, max_size=4))
def test_ids_are_those_of_the_tokenizer(lower: bool, mask: dict[str, bool], calls: list[list[str]]) -> None:
    tokenizer = bert(lower, **mask)
    cache = WordCache(tokenizer, words=8)  # so few that they are forgotten on the way
    assert cache.fits(tokenizer)
    for texts in calls:
        expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        ids, counts = cache.ids(texts)
        assert counts.tolist() == [len(row) for row in expected]
        assert ids.tolist() == [i for row in expected for i in row]
        assert (ids.dtype, counts.dtype) == (np.int32, np.int64)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(_text, min_size=30, max_size=60))
def test_many_new_words_at_once_are_told_apart(texts: list[str]) -> None:
    tokenizer = bert()
    texts += [f"{a}{b}{c}" for a in "abc" for b in "ab1" for c in "abc1-!中"]  # enough to be tokenized together
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    ids, counts = WordCache(tokenizer).ids(texts)
    assert counts.tolist() == [len(row) for row in expected]
    assert ids.tolist() == [i for row in expected for i in row]


def test_words_are_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def recording(tokenizer: Tokenizer, texts: list[str]) -> words.Ids:
        asked.extend(texts)
        return plain(tokenizer, texts)

    monkeypatch.setattr(words, "plain", recording)
    cache = WordCache(bert())
    cache.ids(["a b a", "b c"])
    cache.ids(["c a", "abc a"])
    assert asked == ["a", "b", "c", "abc"]


def test_what_is_remembered_is_bounded() -> None:
    tokenizer = bert()
    cache = WordCache(tokenizer, words=100)
    for i in range(50):
        ids, _ = cache.ids([" ".join(f"a{i}b{j}" for j in range(30)), "b" * 1000])
        assert len(cache._known.row) <= 100
        assert ids.tolist() == plain(tokenizer, [" ".join(f"a{i}b{j}" for j in range(30)), "b" * 1000])[0].tolist()
    assert all(len(word) < 1000 for word in cache._known.row)
    cache.ids([" ".join(f"c{j}" for j in range(1000))])
    assert len(cache._known.row) <= 100


def test_threads_share_a_cache() -> None:
    tokenizer = bert()
    cache = WordCache(tokenizer, words=64)
    texts = [f"{'abc'[i % 3]}{i % 97} {i % 31}c {i % 7}" for i in range(600)]
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    wrong: list[int] = []

    def work(shift: int) -> None:
        for i in range(600):
            j = (i * 7 + shift) % 600
            if cache.ids([texts[j]])[0].tolist() != expected[j]:
                wrong.append(j)

    threads = [threading.Thread(target=work, args=(shift,)) for shift in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _change(part: str, value: object) -> Callable[[Tokenizer], Tokenizer]:
    def changed(tokenizer: Tokenizer) -> Tokenizer:
        return Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_str()), part: value}))

    return changed


def _adding(token: AddedToken) -> Callable[[Tokenizer], Tokenizer]:
    def changed(tokenizer: Tokenizer) -> Tokenizer:
        tokenizer.add_tokens([token])
        return tokenizer

    return changed


@pytest.mark.parametrize(
    "change",
    [
        _change("normalizer", None),
        _change("normalizer", {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "x"}]}),
        _change("pre_tokenizer", {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}),
        _change("pre_tokenizer", None),
        _change("truncation", {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}),
        _adding(AddedToken("a b", normalized=False)),
        _adding(AddedToken("a\u3000b", normalized=False)),
        _adding(AddedToken("ab", normalized=True)),
        _adding(AddedToken("ab", normalized=False, single_word=True)),
    ],
)
def test_other_tokenizers_do_not_fit(change: Callable[[Tokenizer], Tokenizer]) -> None:
    assert WordCache.fits(bert())
    assert not WordCache.fits(change(bert()))


def test_half_a_surrogate_is_the_tokenizers_error() -> None:
    cache = WordCache(bert())
    for _ in range(2):
        with pytest.raises((UnicodeEncodeError, TypeError)):
            cache.ids(["a", "b \ud800 c"])
    assert cache.ids(["a b"])[1].tolist() == [2]


def test_no_texts() -> None:
    ids, counts = WordCache(bert()).ids([])
    assert (len(ids), len(counts), ids.dtype, counts.dtype) == (0, 0, np.int32, np.int64)


def test_plain_takes_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = bert()
    texts = ["a b", "", "abc", "c" * 30, "a"]
    ids, counts = plain(tokenizer, texts)
    monkeypatch.setattr(tokens, "CHARACTERS", 4)
    again = plain(tokenizer, texts)
    assert (again[0].tolist(), again[1].tolist()) == (ids.tolist(), counts.tolist())


@given(st.lists(st.text(alphabet="abc e\u0301中[]", max_size=60), min_size=1, max_size=5))
def test_a_huge_text_is_tokenized_in_pieces(texts: list[str]) -> None:
    tokenizer = bert()
    wanted = plain(tokenizer, texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "CHARACTERS", 4)
        found = plain(tokenizer, texts, splits=True)
    assert found[0].tolist() == wanted[0].tolist()
    assert found[1].tolist() == wanted[1].tolist()
