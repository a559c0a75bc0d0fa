"""Word tokenizers beside those of sentence-transformers: the same numbers, settings, and each other's files."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import VOCABULARY, write_bert
from vicinal.errors import DamagedModel, MissingExtra
from vicinal.models import tokenizer as ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sentence_transformers.models import tokenizer as theirs

KINDS = ("WhitespaceTokenizer", "PhraseTokenizer")
WORDS = ("red", "Red", "apple", "NEW", "new_york", "New_York_City", "a__b", "the", "york", "city", "law.", "it's")
PIECES = (*WORDS, "New York City", "new york", "THE", "(red)", "...", "RED!", "don't", "tax", "\u00fcber", "\n", "''")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map(" ".join) | st.text(max_size=20)


def pair(kind: str, *given: Any, **options: Any) -> tuple[Any, Any]:
    return getattr(ours, kind)(*given, **options), getattr(theirs, kind)(*given, **options)


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS, lower=st.booleans(), stops=st.sampled_from([None, (), ("red", "York", "(red)")]))
@settings(max_examples=150)
def test_the_same_numbers(kind: str, text: str, lower: bool, stops: Any) -> None:
    options = {"do_lower_case": lower} | ({} if stops is None else {"stop_words": stops})
    one, other = pair(kind, WORDS, **options)
    assert one.tokenize(text) == other.tokenize(text)


def test_words_are_found() -> None:
    one, _ = pair("PhraseTokenizer", WORDS)
    assert one.tokenize("The red apple of New York City.") == [0, 2, 5]
    assert one.ngram_lengths == {2, 3}
    assert pair("PhraseTokenizer", WORDS, max_ngram_length=2)[0].ngram_lengths == {2}
    assert pair("WhitespaceTokenizer", WORDS)[0].tokenize("(Red) APPLE the") == [1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_each_reads_what_the_other_wrote(kind: str, tmp_path: Path) -> None:
    text = "the new york City RED apple, \u00fcber"
    for name, writer, reader in zip(("a", "b"), pair(kind, [*WORDS, "\u00fcber"], do_lower_case=True),
                                    (getattr(theirs, kind), getattr(ours, kind)), strict=True):  # fmt: skip
        at = tmp_path / name
        at.mkdir()
        writer.save(str(at))
        read = reader.load(str(at))
        assert read.tokenize(text) == writer.tokenize(text) != []
        assert list(read.get_vocab()) == list(writer.get_vocab())
        assert read.stop_words == writer.stop_words


def test_what_they_are_called() -> None:
    assert sorted(ours.ENGLISH_STOP_WORDS) == sorted(theirs.ENGLISH_STOP_WORDS)
    assert set(theirs.__all__) <= set(ours.__all__)


def test_described_whatever_the_order_of_stop_words() -> None:
    made = [ours.WhitespaceTokenizer(WORDS, stops) for stops in (("a", "b"), ("b", "a"), ("a",))]
    described = [tokenizer.describe() for tokenizer in made]
    assert described[0] == described[1] != described[2]


def test_a_tokenizer_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    given = AutoTokenizer.from_pretrained(str(write_bert(tmp_path / "bert")))
    one, other = pair("TransformersTokenizerWrapper", given)
    assert one.tokenize("red apple") == other.tokenize("red apple")
    one.save(str(tmp_path))
    read = ours.TransformersTokenizerWrapper.load(str(tmp_path))
    assert read.tokenize("the law") == one.tokenize("the law")
    assert read.describe() == one.describe()
    assert len(one.get_vocab()) == len(VOCABULARY)


class Letters(ours.WordTokenizer):
    """A user's own."""

    def __init__(self) -> None:
        self.set_vocab("abc")

    def set_vocab(self, vocab: Any) -> None:
        self.vocab = list(vocab)

    def get_vocab(self) -> list[str]:
        return self.vocab

    def tokenize(self, text: str, **options: Any) -> list[int]:
        return [self.vocab.index(letter) for letter in text if letter in self.vocab]

    def save(self, output_path: str) -> None:
        Path(output_path, "letters.json").write_text(json.dumps(self.vocab))

    @staticmethod
    def load(input_path: str) -> Letters:
        read = Letters()
        read.set_vocab(json.loads(Path(input_path, "letters.json").read_text()))
        return read


def test_a_users_own_is_described_by_its_settings() -> None:
    first, same, other = Letters(), Letters(), Letters()
    other.set_vocab("cba")
    assert first.describe() == same.describe() != other.describe()


def test_what_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DamagedModel, match=r"whitespacetokenizer_config\.json"):
        ours.WhitespaceTokenizer.load(str(tmp_path))
    (tmp_path / "phrasetokenizer_config.json").write_text('{"words": []}')
    with pytest.raises(DamagedModel, match="'words'"):
        ours.PhraseTokenizer.load(str(tmp_path))


def test_phrases_need_nltk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(MissingExtra, match=r"vicinal\[words\]"):
        ours.PhraseTokenizer()
