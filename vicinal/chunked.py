"""Long documents: divided into chunks that the model reads whole, or read whole and pooled by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vicinal import arguments, report
from vicinal.engine import prompt_length
from vicinal.errors import InvalidInput, TextTooLong, UnsupportedModel, ZeroVectorWarning
from vicinal.loading.spec import Normalize, Pooling, Route
from vicinal.text.chunking import Chunk, Count, chunk
from vicinal.text.inputs import read
from vicinal.text.tokens import HalfCharacter, TextTokenizer

if TYPE_CHECKING:
    from vicinal.sentence_transformer import SentenceTransformer

Long = Literal["truncate", "chunk-mean", "chunks", "late"]

_LONGEST, _UNBOUNDED = 512, 256
"""Tokens of a chunk where the caller does not say: at most, and of a model that has no limit."""
_AT_ONCE = 8
"""Documents whose token states are held at a time."""


@dataclass(frozen=True, eq=False)
class ChunkedVectors:
    """Vectors of the chunks of some documents, in order.

    Attributes:
        vectors: (chunks, dims) float32.
        document: (chunks,) which document each is of.
        span: (chunks, 2) its first character there and the one after its last.
    """

    vectors: NDArray[np.float32]
    document: NDArray[np.int64]
    span: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.vectors)


def encode_long(
    model: SentenceTransformer,
    inputs: Any,
    prompt_name: str | None = None,
    prompt: str | None = None,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
    *,
    long: Long,
    chunk_tokens: int | None = None,
    chunk_overlap: int = 0,
    task: str | None = None,
    batch_tokens: int | None = None,
    normalize_embeddings: bool = False,
    truncate_dim: int | None = None,
) -> Any:
    """Vectors of documents of any length; arguments as in `SentenceTransformer.encode`, and:

    Args:
        long: "chunks": a vector for each chunk, read by itself with the headings above it. "late": the model reads the
            document once, and the token states of each chunk are pooled (late chunking, Günther et al. 2024,
            arXiv:2409.04701). "chunk-mean": the mean of a document's chunks, weighted by their tokens.
        chunk_tokens: of a chunk at most, prompt and special tokens included; None is the model's limit, or 512 where
            that is more; 256 for a model without one.
        chunk_overlap: tokens that neighbouring chunks share, about.

    Returns:
        `ChunkedVectors`; for "chunk-mean" (n, dims) float32, (dims,) for a bare text.

    Raises:
        InvalidInput: a row is no text. ValueError: `chunk_tokens` is beyond the model's limit or leaves no room.
        UnsupportedModel: "late" with a model that does not pool token states. TextTooLong: "late" with a document
            beyond the model's limit.
    """
    if long not in ("chunk-mean", "chunks", "late"):
        raise ValueError(f"long must be 'truncate', 'chunk-mean', 'chunks' or 'late', not {long!r}")
    arguments.batching(batch_size, batch_tokens, "error")
    spec = model.spec
    prompted, single, prefix, task = read(spec, inputs, prompt, prompt_name, task)
    if prompted and not isinstance(prompted[0], str):
        raise InvalidInput(f"long={long!r} divides texts, not pairs")
    texts = [str(text)[len(prefix) :] for text in prompted]
    route = spec.route(task)
    if long == "late":
        _check_late(route)
    counter = _Counter(model._engine.tokenizer(route), prefix)
    chunks = divide(texts, counter, route.max_length, chunk_tokens, chunk_overlap)
    options: dict[str, Any] = {"task": task, "batch_size": batch_size, "batch_tokens": batch_tokens}
    dims = min(arguments.dims(truncate_dim) or spec.truncate_dim or route.width, route.width)
    document = np.repeat(np.arange(len(texts)), [len(parts) for parts in chunks])
    if long == "late":
        vectors = _late(model, route, texts, prefix, chunks, counter, options)
    else:
        parts = [part.read(text) for text, found in zip(texts, chunks, strict=True) for part in found]
        vectors = model.encode(
            parts, prompt=prefix, show_progress_bar=show_progress_bar, truncation="error",
            truncate_dim=route.width, **options,
        )  # fmt: skip
        if long == "chunk-mean":
            vectors = _means(vectors, document, counter(parts), len(texts), Normalize() in route.modules)
    vectors = np.ascontiguousarray(vectors[:, :dims])
    if normalize_embeddings:
        vectors = _unit(vectors)
    if long == "chunk-mean":
        return vectors[0] if single else vectors
    span = np.array([(part.start, part.stop) for found in chunks for part in found], np.int64).reshape(-1, 2)
    return ChunkedVectors(vectors, document, span)


def divide(
    texts: Sequence[str], count: Count, limit: int | None, chunk_tokens: int | None, overlap: int
) -> list[list[Chunk]]:
    """The chunks of each document: of one that fits, one.

    Args:
        count: tells tokens as the model has them, prompt and special ones included.
        limit: the model's.
        chunk_tokens, overlap: as in `encode_long`.
    """
    if chunk_tokens is None:
        chunk_tokens = _UNBOUNDED if limit is None else min(limit, _LONGEST)
    if isinstance(chunk_tokens, bool) or not isinstance(chunk_tokens, int) or chunk_tokens < 1:
        raise ValueError(f"chunk_tokens must be a positive integer or None, not {chunk_tokens!r}")
    if limit is not None and chunk_tokens > limit:
        raise ValueError(f"chunk_tokens={chunk_tokens} is more than the {limit} tokens that this model reads")
    try:
        sizes = count(texts)
    except HalfCharacter as error:
        raise report.half_character(error.text, texts) from None
    return [
        [Chunk(0, len(text))] if size <= chunk_tokens else chunk(text, count, chunk_tokens, overlap)
        for text, size in zip(texts, sizes.tolist(), strict=True)
    ]


class _Counter:
    """Tokens of texts as a model reads them: with a prompt in front and its special tokens."""

    def __init__(self, tokenizer: TextTokenizer, prompt: str) -> None:
        self.tokenizer, self._prompt = tokenizer, prompt

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        if not texts:
            return np.zeros(0, np.int64)
        try:
            return self.tokenizer([self._prompt + text for text in texts], None).full
        except HalfCharacter as error:
            raise HalfCharacter(error.text.removeprefix(self._prompt)) from None


def counter(model: SentenceTransformer, prompt: str, task: str | None) -> Count:
    """Tells how many tokens texts have as `model` reads them, `prompt` and special tokens included."""
    return _Counter(model._engine.tokenizer(model.spec.route(task)), prompt)


def _means(
    vectors: NDArray[np.float32],
    document: NDArray[np.int64],
    tokens: NDArray[np.int64],
    documents: int,
    normalized: bool,
) -> NDArray[np.float32]:
    """Means of the rows of each document, by tokens; the vector of a document that is one chunk stays as it is."""
    firsts = np.searchsorted(document, np.arange(documents))
    if not documents:
        return vectors
    sums = np.add.reduceat(vectors * tokens[:, None], firsts, axis=0)
    totals = np.add.reduceat(tokens, firsts)
    means = (sums / totals[:, None]).astype(np.float32)
    if normalized:
        means = _unit(means)
    alone = np.diff(firsts, append=len(document)) == 1
    means[alone] = vectors[firsts[alone]]
    return means


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.asarray(vectors / np.maximum(norms, np.float32(1e-12))[:, None])


# ---- late chunking -------------------------------------------------------------------------------------------------


def _check_late(route: Route) -> None:
    modes = [mode for module in route.modules if isinstance(module, Pooling) for mode in module.modes]
    if not modes:
        raise UnsupportedModel(
            "long='late' pools token states that have seen the whole document; a static model's have seen nothing "
            "but themselves: use long='chunks'"
        )
    if alone := [mode for mode in modes if mode in ("cls", "lasttoken")]:
        raise UnsupportedModel(
            f"long='late' pools the token states of each chunk, but this model takes one token's ({', '.join(alone)}), "
            "which a chunk has not: use long='chunks'"
        )


def _late(
    model: SentenceTransformer,
    route: Route,
    texts: Sequence[str],
    prefix: str,
    chunks: Sequence[Sequence[Chunk]],
    counter: _Counter,
    options: dict[str, Any],
) -> NDArray[np.float32]:
    """Vectors of all chunks, from the token states of whole documents."""
    sizes = counter(texts)
    if route.max_length is not None and (sizes > route.max_length).any():
        row = int(np.argmax(sizes > route.max_length))
        raise TextTooLong(
            f"long='late' reads a document at once, and row {row} has {sizes[row]} tokens, more than the "
            f"{route.max_length} of {model.name}: use long='chunks'"
        )
    skipped = prompt_length(model._engine, route, prefix)
    rows = []
    for first in range(0, len(texts), _AT_ONCE):
        portion = texts[first : first + _AT_ONCE]
        states = model.encode(list(portion), prompt=prefix, output_value="token_embeddings", **options)
        for text, state, found in zip(portion, states, chunks[first : first + _AT_ONCE], strict=True):
            offsets = counter.tokenizer.offsets(prefix + text) - len(prefix)
            rows += [model._engine.pool(route, state[None, kept]) for kept in _places(offsets, found, skipped)]
    vectors = np.concatenate(rows) if rows else np.empty((0, route.width), np.float32)
    if zero := np.flatnonzero(~vectors.any(axis=1)).tolist():
        report.warn(report.zero(zero), ZeroVectorWarning)
    return vectors


def _places(offsets: NDArray[np.int64], chunks: Sequence[Chunk], skipped: int) -> Iterator[slice]:
    """The tokens of each chunk; what the model puts before the text goes to the first, what it puts behind to the last.

    Args:
        offsets: (tokens, 2) where each stands in the text.
        skipped: tokens at the beginning that pooling leaves out.
    """
    own = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    for number, part in enumerate(chunks):
        inside = own[(offsets[own, 0] < part.stop) & (offsets[own, 1] > part.start)]
        first, last = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
        first = skipped if number == 0 else first
        yield slice(first, len(offsets) if number == len(chunks) - 1 else last)
