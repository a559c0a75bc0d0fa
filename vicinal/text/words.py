"""Token ids word by word, remembered: for tokenizers whose ids of a text are those of its words, one after another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from vicinal.text.tokens import CHARACTERS, HalfCharacter, Ids, plain, portions

_WORDS, _LONGEST = 1 << 17, 48
"""Words that are remembered, and characters that such a word may have: about 30 MB when full."""

_TOGETHER = 64
"""Words that are tokenized as one text: a text of its own costs more than a word."""


class _Known:
    """Words and their ids. A word's ids are in place before its name is, and never change: reading needs no lock."""

    def __init__(self) -> None:
        self.row: dict[str, int] = {}
        self.ids = np.empty(1 << 12, np.int32)
        self.starts = np.zeros(1 << 10, np.int64)
        self.counts = np.zeros(1 << 10, np.int64)
        self._end = 0

    def add(self, words: list[str], ids: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
        """Remember words that are not known yet; the caller holds the lock."""
        first, last, end = len(self.row), len(self.row) + len(words), self._end + len(ids)
        self.ids = _room(self.ids, end)
        self.starts, self.counts = _room(self.starts, last), _room(self.counts, last)
        self.ids[self._end : end] = ids
        self.starts[first:last] = self._end + np.cumsum(counts) - counts
        self.counts[first:last] = counts
        self._end = end
        self.row.update(zip(words, range(first, last), strict=True))


class WordCache:
    """Ids of texts by the words between their spaces; a word is tokenized when it is met first.

    Its answers are the tokenizer's own: what it does, it does within the words (see `fits`).

    Args:
        tokenizer: one that fits; it is not changed.
        words: that are remembered; when there are more, all are forgotten.
    """

    def __init__(self, tokenizer: Tokenizer, words: int = _WORDS) -> None:
        self._tokenizer, self._words = tokenizer, words
        self._mark = _mark(tokenizer)
        self._known = _Known()
        self._lock = threading.Lock()

    @staticmethod
    def fits(tokenizer: Tokenizer) -> bool:
        """Whether the ids of "a b" are those of "a" and then those of "b", whatever a and b are.

        BERT's normaliser maps character by character, but for the decomposition of accents, which no space takes part
        in; its pre-tokenizer splits at every space; WordPiece sees single words. Added tokens are cut out first, each
        wherever its very characters stand: one without a space lies within a word, and the spaces that it may take
        along have no ids. Everything else is refused.
        """
        added = tokenizer.get_added_tokens_decoder().values()
        return (
            isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
            and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
            and isinstance(tokenizer.model, models.WordPiece)
            and tokenizer.truncation is None
            and tokenizer.padding is None
            and not any(token.normalized or token.single_word for token in added)
            and not any(char.isspace() for token in added for char in token.content)
        )

    def ids(self, texts: Sequence[str]) -> Ids:
        """Ids of texts without special tokens; what `plain` gives.

        Raises:
            HalfCharacter: a text is no Unicode.
        """
        if not texts:
            return np.empty(0, np.int32), np.empty(0, np.int64)
        if len(texts) > 1 and sum(map(len, texts)) > CHARACTERS:
            parts = [self.ids(portion) for portion in portions(texts)]
            return np.concatenate([ids for ids, _ in parts]), np.concatenate([counts for _, counts in parts])
        words = " ".join(texts).split(" ")
        sizes = np.fromiter((text.count(" ") for text in texts), np.int64, len(texts)) + 1
        known = self._known
        rows = np.fromiter(map(known.row.get, words, repeat(-1)), np.int64, len(words))
        unknown = np.flatnonzero(rows < 0)
        starts, counts, pool = known.starts[rows], known.counts[rows], known.ids
        if len(unknown):
            more, starts[unknown], counts[unknown] = self._learn(known, [words[i] for i in unknown.tolist()])
            starts[unknown] += len(pool)
            pool = np.concatenate([pool, more])
        return _runs(pool, starts, counts), np.add.reduceat(counts, np.cumsum(sizes) - sizes)

    def _learn(self, known: _Known, words: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """The ids of words that were not known, with start and count of each word's; short ones are remembered."""
        place = {word: i for i, word in enumerate(dict.fromkeys(words))}
        names = list(place)
        ids, counts = self._tokenize(names)
        starts = np.cumsum(counts) - counts
        with self._lock:
            new = [i for i, name in enumerate(names) if len(name) <= _LONGEST and name not in known.row][: self._words]
            if known is self._known and new:
                if len(known.row) + len(new) > self._words:
                    known = self._known = _Known()
                kept = np.array(new)
                known.add([names[i] for i in new], _runs(ids, starts[kept], counts[kept]), counts[kept])
        which = np.fromiter(map(place.__getitem__, words), np.int64, len(words))
        return ids, starts[which], counts[which]

    def _tokenize(self, words: list[str]) -> Ids:
        """Ids of words: many at a time as one text, with a token between them that none of them holds."""
        if self._mark is None or len(words) < _TOGETHER or any(self._mark[0] in word for word in words):
            return plain(self._tokenizer, words)
        between, mark = f" {self._mark[0]} ", self._mark[1]
        lines = [between.join(words[i : i + _TOGETHER]) for i in range(0, len(words), _TOGETHER)]
        try:
            found, _ = plain(self._tokenizer, [line + between for line in lines])
        except HalfCharacter:  # of a line, which nobody gave: alone, the word itself is named
            return plain(self._tokenizer, words)
        ends = np.flatnonzero(found == mark)
        return found[found != mark], np.diff(ends, prepend=-1) - 1


def _runs(ids: NDArray[np.int32], starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """Of each word in turn its ids. (`pairs.ranges` is the same, a file further on the way of every text.)"""
    ends = np.cumsum(counts)
    return np.take(ids, np.repeat(starts - ends + counts, counts) + np.arange(ends[-1]))


def _mark(tokenizer: Tokenizer) -> tuple[str, int] | None:
    """An added token, with its id, that nothing but its very characters become."""
    for i, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        if token.content != tokenizer.model.unk_token and not token.content.isalnum() and token.content.isascii():
            return token.content, i
    return None


def _room(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array, or its beginning in one twice as long, with at least `size` places."""
    if size <= len(array):
        return array
    larger = np.zeros(max(size, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    return larger
