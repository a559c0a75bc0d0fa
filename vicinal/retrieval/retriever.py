"""The first stage: all documents, by meaning, by words, or by both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DimensionMismatch, InvalidInput
from vicinal.retrieval.fusion import reciprocal_rank_fusion
from vicinal.retrieval.hit import Hit
from vicinal.retrieval.lexical import Bm25, Stemmer
from vicinal.similarity import SimilarityFunction
from vicinal.similarity.search import semantic_search
from vicinal.text.inputs import name_of

if TYPE_CHECKING:
    from vicinal.sentence_transformer import SentenceTransformer

Mode = Literal["dense", "bm25", "hybrid"]
_FUSED = 100
"""Hits of each order that are fused, where more are not asked for."""


class Searchable(Protocol):
    """An index of documents."""

    def search(self, query: list[str], top_k: int) -> Sequence[Sequence[Hit]]:
        """The best hits of each query."""


class Retriever:
    """Finds the documents that are nearest to a query.

    Args:
        encoder: turns queries and documents into vectors; None where `mode` is "bm25".
        documents: their texts; or an index (anything with `search(queries, top_k)` that gives hits), for "dense".
        ids: of the documents, each once; their places where none are given.
        metadata: a mapping a document.
        embeddings: (n, d) vectors of the documents, made by the same encoder; encoded here where none are given.
        mode: "dense" by vectors; "bm25" by words (needs the extra `bm25`); "hybrid" by both, fused by rank.
        stop_words, stemmer: of the search by words, see `lexical.Bm25`.
        show_progress_bar: while the documents are encoded.

    Raises:
        InvalidInput: a document is no text. ValueError: ids, metadata or embeddings do not go with the documents.

    >>> from vicinal import SentenceTransformer
    >>> retriever = Retriever(SentenceTransformer(), ["Items can be returned.", "We sell tea."])
    >>> retriever.search("how do I send something back?", top_k=1)[0].text
    'Items can be returned.'
    """

    def __init__(
        self,
        encoder: SentenceTransformer | None,
        documents: Iterable[str] | Searchable,
        *,
        ids: Sequence[Any] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        embeddings: NDArray[Any] | None = None,
        mode: Mode = "dense",
        stop_words: str | Sequence[str] | None = "en",
        stemmer: Stemmer | None = None,
        show_progress_bar: bool | None = None,
    ) -> None:
        if mode not in ("dense", "bm25", "hybrid"):
            raise ValueError(f'mode must be "dense", "bm25" or "hybrid", not {mode!r}')
        self.mode, self.encoder = mode, encoder
        self._index: Searchable | None = None
        if hasattr(documents, "search"):
            if mode != "dense" or ids is not None or metadata is not None or embeddings is not None:
                raise ValueError('an index has its own ids, metadata and vectors, and is searched in mode "dense"')
            self._index = cast(Searchable, documents)
            return
        if encoder is None and mode != "bm25":
            raise ValueError(f'mode "{mode}" needs an encoder; only "bm25" does without')
        self._texts = _texts(documents)
        self._ids = _beside("ids", ids, self._texts) or list(range(len(self._texts)))
        self._metadata = _beside("metadata", metadata, self._texts)
        if len(set(self._ids)) < len(self._ids):
            raise ValueError("ids must be different from one another")
        self._words = None if mode == "dense" else Bm25(self._texts, stop_words, stemmer)
        if encoder is not None and mode != "bm25":
            if embeddings is None:
                embeddings = encoder.encode_document(self._texts, show_progress_bar=show_progress_bar)
            self._vectors = _vectors(embeddings, len(self._texts), encoder.get_embedding_dimension())

    def __repr__(self) -> str:
        over = f"{len(self)} documents" if self._index is None else repr(self._index)
        return f"Retriever({over}, mode={self.mode!r}, encoder={getattr(self.encoder, 'name', None)!r})"

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self._index) if self._index is not None else len(self._texts)  # type: ignore[arg-type]

    def search(self, query: Any, top_k: int = 10) -> Any:
        """The best documents, best first; of equal scores the earlier document first.

        Args:
            query: a text, or a list of them.

        Returns:
            A list of `Hit`; of lists where several queries are given.
        """
        queries = [query] if isinstance(query, str) else _texts(query)
        if type(top_k) is not int or top_k < 1:
            raise ValueError(f"top_k must be a positive integer, not {top_k!r}")
        found = self.find(queries, top_k)
        return found[0] if isinstance(query, str) else found

    def find(self, queries: list[str], top_k: int) -> list[list[Hit]]:
        """`search` for a list of queries."""
        if not queries:
            return []
        if self._index is not None:
            return [list(hits) for hits in self._index.search(queries, top_k)]
        if self.mode == "dense":
            return [self._hits(order, top_k, dense=order) for order in self._dense(queries, top_k)]
        if self.mode == "bm25":
            orders = [self._bm25(query, top_k) for query in queries]
            return [self._hits(order, top_k, bm25=order) for order in orders]
        depth = max(top_k, _FUSED)
        both = [
            (dense, self._bm25(query, depth)) for dense, query in zip(self._dense(queries, depth), queries, strict=True)
        ]
        fused = [(dense, words, _fused(dense, words)) for dense, words in both]
        return [self._hits(order, top_k, dense=dense, bm25=words, fusion=order) for dense, words, order in fused]

    def _dense(self, queries: list[str], top_k: int) -> list[list[tuple[int, float]]]:
        encoder = self.encoder
        assert encoder is not None, "only a search by words has none"
        score = SimilarityFunction.to_similarity_fn(encoder.similarity_fn_name)
        found = semantic_search(encoder.encode_query(queries), self._vectors, top_k=top_k, score_function=score)
        return [[(hit["corpus_id"], hit["score"]) for hit in hits] for hits in found]

    def _bm25(self, query: str, top_k: int) -> list[tuple[int, float]]:
        assert self._words is not None, "made in the constructor for this mode"
        return self._words.best(query, top_k)

    def _hits(self, order: Sequence[tuple[int, float]], top_k: int, **stages: Sequence[tuple[int, float]]) -> list[Hit]:
        by_stage = {name: dict(found) for name, found in stages.items()}
        return [
            Hit(
                self._ids[row],
                score,
                self._texts[row],
                self._metadata[row] if self._metadata else None,
                scores={name: found[row] for name, found in by_stage.items() if row in found},
            )
            for row, score in order[:top_k]
        ]


def _fused(*orders: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    return reciprocal_rank_fusion([[row for row, _ in order] for order in orders])


def _texts(documents: Any) -> list[str]:
    if isinstance(documents, (str, bytes, Mapping)) or not isinstance(documents, Iterable):
        raise InvalidInput(f"give a list of texts, not {name_of(documents)}")
    texts = list(documents)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"row {i} is {name_of(text)}, not a text")
    return texts


def _beside(name: str, values: Sequence[Any] | None, texts: Sequence[str]) -> list[Any] | None:
    if values is not None and len(values) != len(texts):
        raise ValueError(f"{len(values)} {name} were given for {len(texts)} documents")
    return None if values is None else list(values)


def _vectors(embeddings: Any, count: int, dims: int) -> NDArray[Any]:
    vectors: NDArray[Any] = np.asanyarray(embeddings)
    if vectors.shape != (count, dims):
        raise DimensionMismatch(f"embeddings have shape {vectors.shape}; {count} documents need {(count, dims)}")
    return vectors
