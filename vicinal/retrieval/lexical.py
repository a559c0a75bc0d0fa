"""Search by words: BM25 (Robertson and Zaragoza 2009), through bm25s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.extras import require

Stemmer = Callable[[list[str]], list[str]]


class Bm25:
    """Scores documents by the words that they share with a query; Lucene's form of BM25.

    Args:
        texts: the documents.
        stop_words: words that do not count: "en" and the other languages that bm25s has, a list, or None.
        stemmer: words to their stems, such as `Stemmer.Stemmer("english").stemWords` of PyStemmer.
        k1, b: how much repetition counts, how much length does.

    Raises:
        MissingExtra: bm25s is not installed.
    """

    def __init__(
        self,
        texts: Sequence[str],
        stop_words: str | Sequence[str] | None = "en",
        stemmer: Stemmer | None = None,
        k1: float = 1.5,
        b: float = 0.75,
    ) -> None:
        self._library = require("bm25", "searching by words")
        self._stop_words = [] if stop_words is None else stop_words
        self._stemmer = stemmer
        words = self._words(texts)
        self._size = len(words)
        self._index: Any = None
        if any(words):  # bm25s indexes no empty vocabulary
            self._index = self._library.BM25(k1=k1, b=b)
            self._index.index(words, show_progress=False)
            self._vocabulary = frozenset(word for text in words for word in text)

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        found: list[list[str]] = self._library.tokenize(
            list(texts), stopwords=self._stop_words, stemmer=self._stemmer, return_ids=False, show_progress=False
        )
        return found

    def scores(self, query: str) -> NDArray[np.float32]:
        """Of every document (n,); 0 where no word is shared."""
        words = [word for word in self._words([query])[0] if self._index is not None and word in self._vocabulary]
        if not words:
            return np.zeros(self._size, np.float32)
        return np.asarray(self._index.get_scores(words), np.float32)

    def best(self, query: str, top_k: int) -> list[tuple[int, float]]:
        """(document, score) of the best that share a word, best first; of equal scores the lower number first."""
        scores = self.scores(query)
        found = np.flatnonzero(scores > 0)
        if len(found) > top_k:
            floor = np.partition(scores[found], len(found) - top_k)[len(found) - top_k]
            found = found[scores[found] >= floor]
        order = found[np.argsort(-scores[found], kind="stable")][:top_k]
        return list(zip(order.tolist(), scores[order].tolist(), strict=True))
