"""Word tokenizers: a text as the numbers of the words of a vocabulary; words that are not there are left out."""

from __future__ import annotations

import json
import string
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicinal.errors import DamagedModel
from vicinal.extras import require

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ENGLISH_STOP_WORDS", "PhraseTokenizer", "TransformersTokenizerWrapper", "WhitespaceTokenizer",
           "WordTokenizer"]  # fmt: skip

_ENGLISH = """
    a about above across after afterwards again against ain all almost alone along already also although always am
    among amongst amoungst amount an and another any anyhow anyone anything anyway anywhere are aren around as at
    back be became because become becomes becoming been before beforehand behind being below beside besides
    between beyond bill both bottom but by call can cannot cant co con could couldn couldnt cry d de describe
    detail did didn do does doesn doing don done down due during each eg eight either eleven else elsewhere empty
    enough etc even ever every everyone everything everywhere except few fifteen fifty fill find fire first five
    for former formerly forty found four from front full further get give go had hadn has hasn hasnt have haven
    having he hence her here hereafter hereby herein hereupon hers herself him himself his how however hundred i
    ie if in inc indeed interest into is isn it its itself just keep last latter latterly least less ll ltd m ma
    made many may me meanwhile might mightn mill mine more moreover most mostly move much must mustn my myself
    name namely needn neither never nevertheless next nine no nobody none noone nor not nothing now nowhere o of
    off often on once one only onto or other others otherwise our ours ourselves out over own part per perhaps
    please put rather re s same see seem seemed seeming seems serious several shan she should shouldn show side
    since sincere six sixty so some somehow someone something sometime sometimes somewhere still such system t
    take ten than that the their theirs them themselves then thence there thereafter thereby therefore therein
    thereupon these they thick thin third this those though three through throughout thru thus to together too top
    toward towards twelve twenty two un under until up upon us ve very via was wasn we well were weren what
    whatever when whence whenever where whereafter whereas whereby wherein whereupon wherever whether which while
    whither who whoever whole whom whose why will with within without won would wouldn y yet you your yours
    yourself yourselves
"""
ENGLISH_STOP_WORDS = [*string.punctuation, "''", "``", *_ENGLISH.split()]
"""What is left out where nothing else is said."""


class WordTokenizer(ABC):
    """The base of word tokenizers, users' own included. A word's number is its place in the vocabulary."""

    @abstractmethod
    def set_vocab(self, vocab: Iterable[str]) -> None:
        """Take this vocabulary."""

    @abstractmethod
    def get_vocab(self) -> Any:
        """The words in order, or the numbers by word."""

    @abstractmethod
    def tokenize(self, text: str, **options: Any) -> list[int]:
        """The numbers of a text's words."""

    @abstractmethod
    def save(self, output_path: str) -> None:
        """Write it into a folder."""

    @staticmethod
    @abstractmethod
    def load(input_path: str) -> WordTokenizer:
        """Read it from a folder."""

    def describe(self) -> str:
        """All that decides how texts are tokenized, for the model's fingerprint."""
        settings = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        settings = {name: sorted(v) if isinstance(v, (set, frozenset)) else v for name, v in settings.items()}
        return json.dumps([type(self).__qualname__, settings], sort_keys=True, default=repr)


class _Listed(WordTokenizer):
    """A tokenizer with a list of words and a file of settings."""

    _file: str
    stop_words: set[str]
    vocab: list[str]

    def get_vocab(self) -> list[str]:
        """The words in order."""
        return self.vocab

    def set_vocab(self, vocab: Iterable[str]) -> None:
        self.vocab = list(vocab)
        self.word2idx = {word: number for number, word in enumerate(self.vocab)}

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"vocab": self.vocab, "stop_words": sorted(self.stop_words)}

    def describe(self) -> str:
        return json.dumps([type(self).__qualname__, self.settings()], sort_keys=True)

    def save(self, output_path: str) -> None:
        Path(output_path, self._file).write_text(json.dumps(self.settings(), ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def _read(cls, input_path: str) -> Self:
        path = Path(input_path, cls._file)
        try:
            settings = json.loads(path.read_text("utf-8"))
            return cls(**settings)
        except (OSError, ValueError, TypeError) as error:
            raise DamagedModel(f"{path} does not hold the settings of a {cls.__name__}: {error}") from error

    def _numbers(self, words: Iterable[Sequence[str]]) -> list[int]:
        """The number of each word that has one: of the first of its spellings that is known; a stop word has none."""
        found = []
        for spellings in words:
            for word in filter(None, spellings):
                if word in self.stop_words:
                    break
                if word in self.word2idx:
                    found.append(self.word2idx[word])
                    break
        return found


class WhitespaceTokenizer(_Listed):
    """Words between spaces: as they are, else without punctuation around them, else in lower case too.

    Args:
        vocab: the words, in order.
        stop_words: which are left out; English ones where not given.
        do_lower_case: whether texts are lower-cased first.

    >>> WhitespaceTokenizer(["red", "Apple"]).tokenize("The Red, red Apple!")
    [0, 0, 1]
    """

    _file = "whitespacetokenizer_config.json"

    def __init__(
        self, vocab: Iterable[str] = (), stop_words: Iterable[str] = ENGLISH_STOP_WORDS, do_lower_case: bool = False
    ) -> None:
        self.stop_words, self.do_lower_case = set(stop_words), do_lower_case
        self.set_vocab(vocab)

    def tokenize(self, text: str, **options: Any) -> list[int]:
        """The numbers of a text's words."""
        words = (text.lower() if self.do_lower_case else text).split()
        return self._numbers((word, bare := word.strip(string.punctuation), bare.lower()) for word in words)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "do_lower_case": self.do_lower_case}

    @staticmethod
    def load(input_path: str) -> WhitespaceTokenizer:
        """Read it from a folder."""
        return WhitespaceTokenizer._read(input_path)


class PhraseTokenizer(_Listed):
    """Words as NLTK divides a text, those that make a phrase of the vocabulary ("New_York") together.

    Args:
        vocab: words and phrases, in order.
        stop_words: which are left out; English ones where not given.
        do_lower_case: kept in the settings; every word is tried as it is and in lower case.
        ngram_separator: between the words of a phrase.
        max_ngram_length: of a phrase, in words.

    Raises:
        MissingExtra: nltk is not installed.
    """

    _file = "phrasetokenizer_config.json"

    def __init__(
        self,
        vocab: Iterable[str] = (),
        stop_words: Iterable[str] = ENGLISH_STOP_WORDS,
        do_lower_case: bool = False,
        ngram_separator: str = "_",
        max_ngram_length: int = 5,
    ) -> None:
        require("words", "PhraseTokenizer")
        self.stop_words, self.do_lower_case = set(stop_words), do_lower_case
        self.ngram_separator, self.max_ngram_length = ngram_separator, max_ngram_length
        self.set_vocab(vocab)

    def set_vocab(self, vocab: Iterable[str]) -> None:
        super().set_vocab(vocab)
        mark = self.ngram_separator
        lengths = {word: word.count(mark) + 1 for word in self.vocab if mark and mark in word and mark * 2 not in word}
        self.ngram_lookup = {word for word, length in lengths.items() if length <= self.max_ngram_length}
        self.ngram_lengths = {lengths[word] for word in self.ngram_lookup}

    def tokenize(self, text: str, **options: Any) -> list[int]:
        """The numbers of a text's words and phrases; longer phrases first."""
        words = require("words", "PhraseTokenizer").word_tokenize(text, preserve_line=True)
        for length in sorted(self.ngram_lengths, reverse=True):
            first = 0
            while first <= len(words) - length:
                phrase = self.ngram_separator.join(words[first : first + length])
                for spelling in (phrase, phrase.lower()):
                    if spelling in self.ngram_lookup:
                        words[first : first + length] = [spelling]
                        break
                first += 1
        return self._numbers((word, word.lower(), word.lower().strip(string.punctuation)) for word in words)

    def settings(self) -> dict[str, Any]:
        own = {"ngram_separator": self.ngram_separator, "max_ngram_length": self.max_ngram_length}
        return {**super().settings(), "do_lower_case": self.do_lower_case, **own}

    @staticmethod
    def load(input_path: str) -> PhraseTokenizer:
        """Read it from a folder."""
        return PhraseTokenizer._read(input_path)


class TransformersTokenizerWrapper(WordTokenizer):
    """A tokenizer of `transformers` as one of words; its special tokens stay."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def set_vocab(self, vocab: Iterable[str]) -> None:
        """Its vocabulary stays what it is."""

    def get_vocab(self) -> Any:
        return self.tokenizer.get_vocab()

    def tokenize(self, text: str, **options: Any) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])

    def describe(self) -> str:
        if hasattr(self.tokenizer, "backend_tokenizer"):
            return str(self.tokenizer.backend_tokenizer.to_str())
        return json.dumps([type(self.tokenizer).__qualname__, self.tokenizer.get_vocab()], sort_keys=True)

    def save(self, output_path: str) -> None:
        self.tokenizer.save_pretrained(output_path)

    @staticmethod
    def load(input_path: str) -> TransformersTokenizerWrapper:
        transformers = require("transformers", "a word model with a tokenizer of transformers")
        return TransformersTokenizerWrapper(transformers.AutoTokenizer.from_pretrained(input_path))
