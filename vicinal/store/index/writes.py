"""What a write does to documents that are there, and to those that are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal import report
from vicinal.errors import DimensionMismatch, DuplicateId, IndexWarning
from vicinal.similarity.measures import block
from vicinal.store.index.database import Transaction
from vicinal.store.index.documents import Incoming
from vicinal.store.index.space import Embedded
from vicinal.text.chunking import Chunk


def given(rows: Sequence[Incoming], vectors: Any, dims: int) -> list[Embedded]:
    """Documents with vectors of their whole texts, which the caller has.

    Raises:
        DimensionMismatch: there are not as many, or of another length. NonFiniteEmbedding: one holds nan or infinity.
    """
    matrix: NDArray[np.float32] = np.ascontiguousarray(vectors, np.float32)
    if matrix.shape != (len(rows), dims):
        raise DimensionMismatch(f"vectors must have shape {(len(rows), dims)}, not {matrix.shape}")
    block(matrix, "vectors")  # all finite
    return [Embedded([Chunk(0, len(one.text))], matrix[i : i + 1]) for i, one in enumerate(rows)]


def say_blank(rows: Sequence[Incoming]) -> None:
    """Warn of documents that are to be embedded, and have no text."""
    if blank := [one.key for one in rows if not one.text.strip()]:
        report.warn(
            f"{len(blank)} of {len(rows)} documents have no text, the first is {blank[0]!r}: they are kept, but their "
            "vectors mean nothing, and a search may show them",
            IndexWarning,
        )


def none_there(found: Mapping[str, Any]) -> None:
    """Refuse documents that are there.

    Raises:
        DuplicateId: there are some.
    """
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise DuplicateId(f"a document {next(iter(found))!r} is there already{more}: upsert replaces documents")


def differs(one: Incoming, there: Mapping[str, tuple[int, bytes, str]]) -> bool:
    """Whether a document's text is not the one that is there."""
    return one.key not in there or there[one.key][1] != one.hash


def put(
    transaction: Transaction,
    rows: Sequence[Incoming],
    there: Mapping[str, tuple[int, bytes, str]],
    ready: Mapping[str, Embedded],
    sources: Mapping[str, int],
) -> int:
    """Write documents that are new or have changed; how many.

    Args:
        there: those that are there, see `Transaction.find`.
        ready: chunks and vectors of those that are new or have another text.
        sources: which file some are from.
    """
    new = [one for one in rows if one.key not in there]
    transaction.insert(new, [ready[one.key] for one in new], sources)
    changed = len(new)
    for one in rows:
        if one.key in there:
            number, hash_, metadata = there[one.key]
            if (hash_, metadata) != (one.hash, one.metadata) or one.key in ready:
                transaction.replace(number, one, ready.get(one.key), sources.get(one.key))
                changed += 1
    return changed
