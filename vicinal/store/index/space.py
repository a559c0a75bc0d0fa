"""Which model an index was built with: found again by name, compared with the one that is given."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.chunked import counter, divide
from vicinal.errors import IndexWarning, InvalidInput, SpaceMismatch, Unavailable
from vicinal.report import warn
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.text.chunking import Chunk
from vicinal.text.inputs import resolve_prompt

_PORTION = 1 << 22
"""Characters of documents that are divided and encoded at a time."""


@dataclass(frozen=True)
class Space:
    """The embedding space of an index, as it is recorded.

    Attributes:
        fingerprint, dims: of the model.
        model: its name, or the path of its folder.
        revision: of the hub, where one is known.
        similarity: how its vectors are compared.
        dtype: of the computation.
        query_prompt, document_prompt: what stood before texts.
        max_seq_length, truncate_dim: settings of the model.
        chunk_tokens, chunk_overlap: how documents were divided, see `vicinal.chunked.encode_long`.
    """

    fingerprint: str
    dims: int
    model: str
    revision: str | None
    similarity: str
    dtype: str
    query_prompt: str
    document_prompt: str
    max_seq_length: int | None
    truncate_dim: int | None
    chunk_tokens: int | None
    chunk_overlap: int

    @classmethod
    def of(cls, model: SentenceTransformer, chunk_tokens: int | None, chunk_overlap: int) -> Space:
        """The space of a model, and the settings that are recorded with it."""
        located = model._located
        folder = located.source == "folder"
        return cls(
            model.fingerprint,
            model.get_embedding_dimension(),
            str(located.folder.resolve()) if folder else model.name,
            located.revision if located.source in ("hub cache", "network") else None,
            model.similarity_fn_name,
            model.dtype,
            *prompts(model),
            model.max_seq_length,
            model.truncate_dim,
            chunk_tokens,
            chunk_overlap,
        )

    @property
    def described(self) -> str:
        """For messages."""
        return f"{self.model} (space {self.fingerprint[:8]}…, {self.dims} dims)"

    def load(self, path: Path) -> SentenceTransformer:
        """The model, found by its name, with the settings it had.

        Raises:
            ModelNotFound: it is not where it was. SpaceMismatch: it is another one now.
        """
        settings: dict[str, Any] = {
            "prompts": {"query": self.query_prompt, "document": self.document_prompt},
            "truncate_dim": self.truncate_dim,
            "revision": self.revision,
            "similarity_fn_name": self.similarity,
        }
        try:
            model = open_model(self.model, dtype=self.dtype, **settings)
        except Unavailable:  # this processor computes otherwise; `check` says so
            model = open_model(self.model, **settings)
        if model.max_seq_length != self.max_seq_length:
            model.max_seq_length = self.max_seq_length
        self.check(model, path)
        return model

    def check(self, model: SentenceTransformer, path: Path) -> None:
        """Compare a model with the one that the index was built with.

        Raises:
            SpaceMismatch: its vectors cannot be compared with those of the index.
        """
        given = Space.of(model, None, 0)
        advice = f"Re-embed it with: vicinal index rebuild {path} --model {given.model}"
        if given.fingerprint != self.fingerprint:
            raise SpaceMismatch(
                f"index at {path} was built with {self.described}; this model is {given.described}. {advice}"
            )
        for role, ours, theirs in (
            ("queries", self.query_prompt, given.query_prompt),
            ("documents", self.document_prompt, given.document_prompt),
        ):
            if ours != theirs:
                ours_all = {"query": self.query_prompt, "document": self.document_prompt}
                raise SpaceMismatch(
                    f"index at {path} was built with the prompt {ours!r} for {role}; this {given.model} has "
                    f"{theirs!r}. Load it with prompts={ours_all!r}. Or re-embed: index.rebuild(model)"
                )
        if given.dtype != self.dtype:
            warn(
                f"the vectors of the index at {path} were computed at {self.dtype}, this {given.model} computes at "
                f"{given.dtype}: scores will differ a little",
                IndexWarning,
            )


def open_model(name: str | os.PathLike[str] | SentenceTransformer | None, **settings: Any) -> SentenceTransformer:
    """A model by its name; one that is loaded already as it is."""
    if isinstance(name, SentenceTransformer):
        return name
    if name is not None and not isinstance(name, (str, os.PathLike)):
        raise InvalidInput(f"model must be a SentenceTransformer or a model's name, not {type(name).__name__}")
    return SentenceTransformer(name, **settings)


def prompts(model: SentenceTransformer) -> tuple[str, str]:
    """What `encode_query` and `encode_document` put before a text."""
    spec = model.spec
    names = (model._prompt_for("query"), model._prompt_for("document"))
    return resolve_prompt(spec, None, names[0]), resolve_prompt(spec, None, names[1])


@dataclass(frozen=True, eq=False)
class Embedded:
    """A document, divided and encoded.

    Attributes:
        chunks: its spans.
        vectors: (chunks, dims) float32.
    """

    chunks: Sequence[Chunk]
    vectors: NDArray[np.float32]


def embed(model: SentenceTransformer, space: Space, texts: Sequence[str], **options: Any) -> list[Embedded]:
    """Divide documents and encode their chunks.

    Args:
        options: of `encode_document`.
    """
    count = counter(model, space.document_prompt, "document")
    limit = model.spec.route("document").max_length
    options = {"show_progress_bar": False, "truncation": "error", **options}
    done: list[Embedded] = []
    for portion in _portions(texts):
        divided = divide(portion, count, limit, space.chunk_tokens, space.chunk_overlap)
        parts = [part.read(text) for text, chunks in zip(portion, divided, strict=True) for part in chunks]
        vectors = model.encode_document(parts, prompt=space.document_prompt, **options)
        first = 0
        for chunks in divided:
            done.append(Embedded(chunks, vectors[first : first + len(chunks)]))
            first += len(chunks)
    return done


def _portions(texts: Sequence[str]) -> Iterator[list[str]]:
    portion: list[str] = []
    size = 0
    for text in texts:
        portion.append(text)
        size += len(text)
        if size >= _PORTION:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
